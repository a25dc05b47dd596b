// Package readme tests what README.md and the documents beside it say: their programs are run,
// and what they point to is there.
package readme
