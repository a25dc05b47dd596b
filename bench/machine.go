package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// machine is what the contenders run on.
func machine(ctx context.Context, url string) (lines []string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	var version, sync string
	err = conn.QueryRow(ctx, "select current_setting('server_version'), current_setting('fsync')").Scan(&version, &sync)
	if err != nil {
		return nil, err
	}
	lines = []string{
		"date: " + time.Now().UTC().Format(time.DateTime) + " UTC",
		fmt.Sprintf("cpus: %d, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
		"go: " + runtime.Version(),
		"postgresql: " + version,
		"fsync: " + sync,
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		lines = append(lines, "commit: "+strings.TrimSpace(string(out)))
	}
	return append(lines, versions()...), nil
}

// versions are those of the modules that are compared.
func versions() (lines []string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	compared := []string{"github.com/jackc/pgx/v5", "github.com/cockroachdb/cockroach-go/v2", "gorm.io/gorm", "github.com/uptrace/bun"}
	for _, m := range info.Deps {
		if slices.Contains(compared, m.Path) {
			lines = append(lines, m.Path+": "+m.Version)
		}
	}
	return lines
}

// load is the machine's load average, "" where it is not to be had.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
