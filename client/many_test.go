//go:build !race

package client_test

// many is how many small files are brought up and down.
const many = 10_000
