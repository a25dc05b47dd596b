// Command bench compares ways to write a transfer of money, and a single statement, with
// Interlock and with its neighbours. The contenders take turns in short slots, so that whatever
// else the machine does meets all of them; what counts are their ratios within a round. See
// docs/benchmarks.md.
//
//	go run . -latencies 0s,1ms -for 2m30s -out result
//
// writes result.md, a table for each comparison, and result.csv, a line for each slot.
package main
