package ledger

//go:generate sqlc generate
//go:generate interlock-gen --config interlock.yaml
