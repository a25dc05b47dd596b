package txn_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/txn"
	"github.com/interlock-go/interlock/txn/txntest"
	"github.com/interlock-go/interlock/txn/txntest/faultproxy"
)

// Through a minute in which nobody answers, calls are made as often as ever, and nearly none
// is made twice: the server that comes back meets the usual load, not three times as much.
func TestFaultsOfALongOutage(t *testing.T) {
	const callers = 16
	calls, pause := 10, time.Duration(0) // of each caller
	if *long {
		calls, pause = 600, 100*time.Millisecond
	}
	for _, outage := range []struct {
		name  string
		begin func(p *faultproxy.Proxy) (end func())
	}{
		{"refused", func(p *faultproxy.Proxy) func() {
			p.Refuse(true)
			cut := p.Arm(faultproxy.Fault{Every: true, Do: faultproxy.Cut{}})
			return func() { cut.Disarm(); p.Refuse(false) }
		}},
		// As behind a proxy that has lost the server: whoever connects is let in first.
		{"let in and cut", func(p *faultproxy.Proxy) func() {
			return p.Arm(faultproxy.Fault{Every: true, Do: faultproxy.Cut{}}).Disarm
		}},
	} {
		t.Run(outage.name, func(t *testing.T) {
			f := setup(t, txn.Config{})
			p := txntest.NewProxy(t, f.AppURL())
			var retries atomic.Int64
			var elapsed time.Duration
			watched(t, func(ctx context.Context) {
				cfg := poolConfig(t, p.URL())
				cfg.MaxConns = callers
				d := openConfig(t, cfg, txn.Config{BaseDelay: time.Nanosecond, Options: txn.Options{
					OnRetry: func(context.Context, txn.Retry) { retries.Add(1) },
				}})
				require.NoError(t, txn.WithTx(ctx, d, txn.Options{}, update))
				p.Reset()
				end := outage.begin(p)
				since := time.Now()
				var all sync.WaitGroup
				for range callers {
					all.Go(func() {
						for range calls {
							turn := time.NewTimer(pause)
							if err := txn.WithTx(ctx, d, txn.Options{}, update); !txn.IsRetryable(err) {
								t.Errorf("it is not said to be the server's fault: %v", err)
							}
							<-turn.C
						}
					})
				}
				all.Wait()
				elapsed = time.Since(since)
				made := callers * calls
				attempts := made + int(retries.Load())
				counted := fmt.Sprintf("%d calls in %.0f s, %.4f attempts a call, %.2f connections a call",
					made, elapsed.Seconds(), float64(attempts)/float64(made), float64(p.Stats().Connections)/float64(made))
				t.Log(counted)
				report.add("outage, "+outage.name, counted)
				require.Positive(t, retries.Load(), "some were made again at first")
				require.LessOrEqual(t, attempts, made*11/10)
				require.LessOrEqual(t, p.Stats().Connections, 3*made, "what connects in vain is not to be tried with one connection after the other")

				end()
				// The budget is used up. What a healthy server asks for does not need it.
				require.NoError(t, txn.WithTx(ctx, d, txn.Options{}, update))
				for _, code := range []string{"40001", "40P01"} {
					runs := 0
					err := txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
						runs++
						return fail(ctx, tx, code)
					})
					require.Equal(t, code, txn.SQLState(err))
					require.Equal(t, 3, runs)
				}
				runs := 0
				require.Error(t, txn.WithTx(ctx, d, txn.Options{}, func(ctx context.Context, tx *txn.Tx) error {
					runs++
					return fail(ctx, tx, "57P01")
				}))
				require.Equal(t, 1, runs, "what an outage asks for does")
				released(t, d)
				d.Close()
			})
		})
	}
}
