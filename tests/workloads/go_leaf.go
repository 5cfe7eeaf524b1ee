// build:
// A chain of Go functions whose last has no frame of its own: its caller is known by pclntab alone.
// usage: go_leaf
package main

import "fmt"

//go:noinline
func leaf(value uint64, steps int) uint64 {
	for i := 0; i < steps; i++ {
		value ^= value << 13
		value ^= value >> 7
		value ^= value << 17
	}
	return value
}

//go:noinline
func caller(value uint64) uint64 {
	return leaf(value|1, 4000000) + 1
}

//go:noinline
func outer(value uint64) uint64 {
	return caller(value) + 1
}

func main() {
	done := make(chan bool)
	go func() {
		value := uint64(1)
		for {
			value = outer(value)
		}
	}()
	fmt.Println("ready")
	<-done
}
