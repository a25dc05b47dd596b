package ledger

//go:generate interlock-gen
