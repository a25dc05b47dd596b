// Interlock runs the reference application: its demonstration and its migrations.
package main

import (
	"os"

	"github.com/interlock-go/interlock/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
