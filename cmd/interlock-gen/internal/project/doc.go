// Package project reads sqlc.yaml: what is to be generated from what, and whether
// generated code on top of it is possible.
package project
