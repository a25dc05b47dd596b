// Package generate makes Go from a schema and queries: it has a database analyse them, has
// sqlc write its Go, and writes the package on top.
//
// sqlc ends the process when it fails, so it runs in a process of its own, a second run of
// this program: see [Worker]. Everything is written to a temporary folder first; the
// project is touched when all of it succeeded.
package generate
