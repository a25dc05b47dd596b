// Package lockorder tests that make test looks at the orders of locks of all tests together:
// its testdata is a module with two packages, each of which has half of a cycle.
package lockorder
