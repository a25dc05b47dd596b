package mail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A Directory keeps messages as files, one for each key: for a program that takes them from
// there, and for tests. A message that comes again finds its file, and changes nothing; of one
// that was taken away there is a second file, of the same name and with the same Message-ID.
type Directory struct {
	path, from string
}

// NewDirectory returns the directory at a path, which exists. The messages say that they are
// from the address.
func NewDirectory(path, from string) (*Directory, error) {
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, fmt.Errorf("mail: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("mail: %s is not a directory", path)
	}
	if err := checkFrom(from); err != nil {
		return nil, err
	}
	return &Directory{path: path, from: from}, nil
}

// File is the path of the file of the message with a key. It is there if and only if the
// message was sent, and not taken away since, and then it is complete.
func (d *Directory) File(key string) string {
	return filepath.Join(d.path, strings.ReplaceAll(atom(key), "/", "=2f")+".eml")
}

// Send writes the message to disk, unless it is there. The file gets its name when all of it is
// on disk: a file of that name that a crash had cut short would pass for the message.
func (d *Directory) Send(ctx context.Context, m Message) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	text, err := m.text(d.from, time.Now())
	if err != nil {
		return err
	}
	if err := d.write(d.File(m.Key), text); err != nil {
		return fmt.Errorf("mail: keep message %s: %w", m.Key, err)
	}
	return nil
}

func (d *Directory) write(name string, text []byte) (err error) {
	f, err := os.CreateTemp(d.path, ".unfinished-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// Unlike a renaming, a link fails if there is a file of the name: another one had it first.
	if err := os.Link(f.Name(), name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDirectory(d.path) // also if the file was there: who wrote it may have died here
}

// syncDirectory brings the names in a directory to disk, where systems let programs do that.
func syncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
