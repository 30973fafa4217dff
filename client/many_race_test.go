//go:build race

package client_test

// many is how many small files are brought up and down: the race detector makes
// each take twenty times as long.
const many = 2_000
