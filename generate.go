// Package interlock is the root of the reference application; it holds no code.
package interlock

//go:generate go run ./cmd/interlock-gen generate
