// build:
// A Go program: frame pointers as Go keeps them, a goroutine, a method.
// usage: go_burn
package main

import "fmt"

type stove struct{ value uint64 }

// keep makes burn a function that calls another: leaf functions have no frame pointer, and hide their caller.
//
//go:noinline
func (s *stove) keep(value uint64) { s.value = value }

//go:noinline
func (s *stove) burn(steps int) {
	value := s.value | 1
	for i := 0; i < steps; i++ {
		value ^= value << 13
		value ^= value >> 7
		value ^= value << 17
	}
	s.keep(value)
}

//go:noinline
func feed(s *stove) {
	s.burn(8000000)
}

func main() {
	fmt.Println("ready")
	done := make(chan bool)
	go func() {
		s := &stove{}
		for tick := 1; ; tick++ {
			feed(s)
			fmt.Println("tick", tick)
		}
	}()
	<-done
}
