package cli

import (
	"fmt"
	"io"
	"os"
	"time"
)

// A progress shows how far something is: a line that changes on a terminal, else a line now
// and then.
type progress struct {
	w     io.Writer
	line  func(elapsed time.Duration) string // shorter than a terminal is wide
	live  bool
	start time.Time
	quit  chan struct{}
	ended chan struct{}
}

const (
	liveEvery  = 100 * time.Millisecond
	plainEvery = time.Second
)

// startProgress shows line's result on w until stop is called.
func startProgress(w io.Writer, line func(elapsed time.Duration) string) *progress {
	p := &progress{
		w: w, line: line, live: isTerminal(w), start: time.Now(),
		quit: make(chan struct{}), ended: make(chan struct{}),
	}
	go p.run()
	return p
}

// isTerminal takes every character device for a terminal: the other one that output is sent
// to is /dev/null.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) run() {
	defer close(p.ended)
	every := plainEvery
	if p.live {
		every = liveEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.show()
		case <-p.quit:
			p.show()
			if p.live {
				fmt.Fprintln(p.w)
			}
			return
		}
	}
}

func (p *progress) show() {
	text := p.line(time.Since(p.start))
	if p.live {
		fmt.Fprintf(p.w, "\r%s\x1b[K", text) // the escape clears what is left of a longer line
		return
	}
	fmt.Fprintln(p.w, text)
}

// stop shows the line for the last time.
func (p *progress) stop() {
	close(p.quit)
	<-p.ended
}
