package txntest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// lockOrderDir names the environment variable with the folder that Run writes to.
const lockOrderDir = "INTERLOCK_LOCK_ORDER_DIR"

// Run runs the tests of a package and returns the exit code for its TestMain: theirs, or 1 if
// they passed and something was found, which it prints to standard error then.
//
//	func TestMain(m *testing.M) { os.Exit(lockOrder.Run(m)) }
//
// If the environment's INTERLOCK_LOCK_ORDER_DIR names a folder, it also writes a file there
// with the orders that it saw and that are not allowed, for MergeLockOrders.
func (l *LockOrder) Run(tests interface{ Run() int }) int {
	// go test keeps the result of a test with the values of those variables that it asked for
	// itself, so Observe asks: with another folder the tests run again and write to that one.
	l.folder = sync.OnceValue(func() string { return os.Getenv(lockOrderDir) })
	code := tests.Run()
	errs := []error{l.Err()}
	if code != 0 {
		errs = nil // what was found can be a consequence
	}
	if folder := l.folder(); folder != "" {
		errs = append(errs, l.writeTo(folder))
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// A lockOrderFile is what a file holds.
type lockOrderFile struct {
	Format int               `json:"format"`
	Tests  string            `json:"tests"` // the package
	Orders []lockOrderOfFile `json:"orders"`
}

// lockOrderFormat changes with the meaning of a lockOrderFile.
const lockOrderFormat = 1

type lockOrderOfFile struct {
	Label  string     `json:"label"`
	Again  bool       `json:"again,omitempty"`
	First  lockOfFile `json:"first"`
	Second lockOfFile `json:"second"`
}

type lockOfFile struct {
	Table    string   `json:"table"`
	Strength string   `json:"strength"`
	Query    string   `json:"query"`
	Stack    []string `json:"stack"`
}

// writeTo writes a file of a name that nobody else has: two packages can be called the same,
// and a package's tests can run twice at once. A reader sees all of it or nothing.
func (l *LockOrder) writeTo(folder string) error {
	file := lockOrderFile{Format: lockOrderFormat, Tests: testedPackage(), Orders: []lockOrderOfFile{}}
	for _, o := range l.notAllowed() {
		file.Orders = append(file.Orders, lockOrderOfFile{
			Label: o.second.label, Again: o.again, First: o.first.ofFile(), Second: o.second.ofFile(),
		})
	}
	slices.SortStableFunc(file.Orders, func(a, b lockOrderOfFile) int {
		return cmp.Or(a.First.compare(b.First), a.Second.compare(b.Second))
	})
	text, err := json.MarshalIndent(file, "", "\t")
	if err != nil {
		return fmt.Errorf("txntest: write lock orders: %w", err)
	}
	if err := writeWhole(folder, text); err != nil {
		return fmt.Errorf("txntest: write lock orders: %w", err)
	}
	return nil
}

func writeWhole(folder string, text []byte) (err error) {
	f, err := os.CreateTemp(folder, "orders-*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(text); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), strings.TrimSuffix(f.Name(), ".part")+".json")
}

// testedPackage is the import path of the package whose tests this process runs.
func testedPackage() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "" {
		return strings.TrimSuffix(info.Path, ".test")
	}
	return strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
}

func (t taken) ofFile() lockOfFile {
	return lockOfFile{Table: t.table, Strength: t.strength, Query: t.query, Stack: t.stack()}
}

func (l lockOfFile) compare(other lockOfFile) int {
	return cmp.Or(cmp.Compare(l.Table, other.Table), cmp.Compare(l.Strength, other.Strength), cmp.Compare(l.Query, other.Query))
}

func (l lockOfFile) taken(label string) taken {
	return taken{claim{table: l.Table, strength: l.Strength}, place{query: l.Query, label: label, lines: l.Stack}}
}

// MergedLockOrders are the orders that the tests of several packages saw.
type MergedLockOrders struct {
	Packages []string // whose tests they are, in order of their names

	orders    []*order
	processes int
}

// MergeLockOrders reads the files that LockOrder.Run wrote to a folder, in one or several
// processes. What a package allows, it allows for its own tests. A file that is not of this
// version of the package is an error.
func MergeLockOrders(folder string) (*MergedLockOrders, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("txntest: merge lock orders: %w", err)
	}
	m := &MergedLockOrders{}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		if err := m.read(filepath.Join(folder, e.Name())); err != nil {
			return nil, fmt.Errorf("txntest: merge lock orders: %w", err)
		}
	}
	slices.Sort(m.Packages)
	m.Packages = slices.Compact(m.Packages)
	// The files' names are by chance, and what is found is not to be.
	slices.SortStableFunc(m.orders, func(a, b *order) int {
		return cmp.Or(cmp.Compare(a.tests, b.tests), a.first.ofFile().compare(b.first.ofFile()), a.second.ofFile().compare(b.second.ofFile()))
	})
	return m, nil
}

func (m *MergedLockOrders) read(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var file lockOrderFile
	if err := json.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if file.Format != lockOrderFormat {
		return fmt.Errorf("%s has format %d, and this program knows %d: run the tests and this with one version", name, file.Format, lockOrderFormat)
	}
	m.Packages = append(m.Packages, file.Tests)
	m.processes++
	for _, o := range file.Orders {
		m.orders = append(m.orders, &order{
			first: o.First.taken(o.Label), second: o.Second.taken(o.Label), again: o.Again, tests: file.Tests, process: m.processes,
		})
	}
	return nil
}

// Findings returns the cycles that only several processes together have, in a certain order.
// What the tests of one show by themselves, its LockOrder has found.
func (m *MergedLockOrders) Findings() []LockOrderFinding {
	return find(m.orders, func(of []*order) bool {
		return slices.ContainsFunc(of, func(o *order) bool { return o.process != of[0].process })
	})
}

// Err returns nil if nothing was found, else an error that describes all of it.
func (m *MergedLockOrders) Err() error { return asError(m.Findings()) }
