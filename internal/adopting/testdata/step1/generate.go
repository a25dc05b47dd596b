package ledger

//go:generate sqlc generate
