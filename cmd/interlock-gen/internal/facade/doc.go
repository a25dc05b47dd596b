// Package facade writes the package that applications use on top of the Go that sqlc wrote.
//
// Types come from sqlc's Go itself, by copying signatures from its syntax tree: so each of
// sqlc's settings for names and types holds here too, and none of its rules is repeated.
package facade
