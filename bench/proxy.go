package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// A wire is the proxy that delays and counts, in a process of its own: what it uses must not
// be counted as the client's. The process is this program again, and ends with it: then its
// input does.
type wire struct {
	URL string // of the database, by way of the proxy

	cmd  *exec.Cmd
	in   io.WriteCloser
	ask  *json.Encoder
	told *json.Decoder
}

// proxyWord makes this program the proxy, as its only argument.
const proxyWord = "proxy"

// newWire starts the proxy before the server of dsn.
func newWire(dsn string) (*wire, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &wire{cmd: exec.Command(program, proxyWord)}
	w.cmd.Stderr = os.Stderr
	in, err := w.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	w.in, w.ask, w.told = in, json.NewEncoder(in), json.NewDecoder(out)
	if err := errors.Join(w.ask.Encode(dsn), w.told.Decode(&w.URL)); err != nil {
		w.close()
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	return w, nil
}

// trips sets the delay, one way, and returns how many round trips there were until now.
func (w *wire) trips(delay time.Duration) (n int, err error) {
	err = errors.Join(w.ask.Encode(delay), w.told.Decode(&n))
	return n, err
}

func (w *wire) close() {
	_ = w.in.Close()
	_ = w.cmd.Wait()
}

// serveProxy is the other side of a wire.
func serveProxy(in io.Reader, out io.Writer) error {
	ask, told := json.NewDecoder(in), json.NewEncoder(out)
	var dsn string
	if err := ask.Decode(&dsn); err != nil {
		return err
	}
	p, err := faultproxy.Start(context.Background(), dsn)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := told.Encode(p.URL()); err != nil {
		return err
	}
	for {
		var delay time.Duration
		switch err := ask.Decode(&delay); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		p.SetDelay(delay)
		if err := told.Encode(p.RoundTrips()); err != nil {
			return err
		}
	}
}
