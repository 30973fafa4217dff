package muster

import "fmt"

// Counted puts a number before a thing: 1 node, 2 nodes.
func Counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
