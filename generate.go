// Package interlock is the root of the reference application; it holds no code.
package interlock

import (
	// Types of sqlc.yaml's overrides. A migration may bring the first column of one at any
	// time, and go.mod has to know it then.
	_ "github.com/google/uuid"
	_ "github.com/shopspring/decimal"
)

//go:generate go run ./cmd/interlock-gen generate
