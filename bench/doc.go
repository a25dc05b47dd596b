// Package bench measures the transfer between two accounts: how often it waits for the
// server, and how long it takes, with Interlock and with its neighbours. The numbers are
// compared within a run, on one server. See docs/benchmarks.md.
package bench
