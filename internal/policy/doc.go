// Package policy holds what the repository's packages agree on, as tests: who may import
// whom (imports_test.go), how things are named and written (style_test.go), which wrong
// programs do not compile (refused_test.go), what the library costs an application that
// imports it (lean_test.go), that Go in the documents is tested (docs_test.go), and that each
// function of the library has an example (examples_test.go).
//
// When a test here fails, its message says what to do instead. The tables are statements of
// policy: they change when the architecture does, not to let a change pass.
package policy
