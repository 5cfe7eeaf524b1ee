// build:
// A goroutine calls C, on the thread's stack; C calls Go back, on the goroutine's; both burn.
// usage: go_cgo
package main

/*
#include <stdint.h>

extern void goCalledBack(uint64_t steps);

static volatile uint64_t c_burnt;

static __attribute__((noinline)) void c_burn(uint64_t steps) {
    uint64_t value = c_burnt;
    for (uint64_t step = 0; step < steps; step++) {
        value = value * 6364136223846793005ull + 1442695040888963407ull;
        __asm__ volatile("" : "+r"(value));
    }
    c_burnt = value;
}

static __attribute__((noinline)) void c_outer(uint64_t steps) {
    c_burn(steps);
    goCalledBack(steps / 4);
    c_burnt++;
}
*/
import "C"

import "fmt"

var burnt uint64

//go:noinline
func goBurn(value uint64, steps int) uint64 {
	for i := 0; i < steps; i++ {
		value ^= value << 13
		value ^= value >> 7
		value ^= value << 17
	}
	return value
}

//export goCalledBack
func goCalledBack(steps C.uint64_t) {
	burnt = goBurn(burnt|1, int(steps)) + 1
}

//go:noinline
func intoC() {
	C.c_outer(4000000)
}

func main() {
	done := make(chan bool)
	go func() {
		for {
			intoC()
		}
	}()
	fmt.Println("ready")
	<-done
}
