// Package adopting tests docs/adopting.md: testdata has an application before and after each
// of its steps, and the page shows how they differ.
package adopting
