// build:
// A Go program: frame pointers as Go keeps them, a goroutine, a method.
// usage: go_burn
package main

import "fmt"

type stove struct{ value uint64 }

//go:noinline
func (s *stove) burn(steps int) {
	value := s.value | 1
	for i := 0; i < steps; i++ {
		value ^= value << 13
		value ^= value >> 7
		value ^= value << 17
	}
	s.value = value
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
