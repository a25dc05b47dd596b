// Package scratch makes databases in which a schema has been applied, and drops them again.
// They are for the analysis of queries and hold no data.
package scratch
