// Package faultproxy stands between a client and its PostgreSQL server, counts round trips,
// makes everything take longer, and does one wrong thing at one message of the protocol, each
// time at the same.
//
//	proxy, err := faultproxy.Start(ctx, dsn) // in a test: txntest.NewProxy(t, dsn)
//	…
//	defer proxy.Close()
//	db, err := txn.Open(ctx, proxy.URL(), txn.Config{})
//	…
//	proxy.Reset()
//	transfer(ctx, db)
//	fmt.Println(proxy.RoundTrips())
//
// It serves tests and programs alike, whatever they connect with: it imports pgx and nothing
// of testing.
//
// # Faults
//
// [Fault] says where, and its Do what: [Cut], [Hold], [BlackHole] or [Fail].
//
//	cut := proxy.Arm(faultproxy.Fault{SQL: "^commit", Answer: true, Do: faultproxy.Cut{}})
//	err = transfer(ctx, db)         // committed, but the answer was lost
//	err = cut.WaitSession(ctx)      // the server has done what it was going to do
//
// Every place there is, one after the other, is reached by counting until the fault no longer
// happens:
//
//	for n := 1; ; n++ {
//		cut := proxy.Arm(faultproxy.Fault{From: faultproxy.Server, Nth: n, Do: faultproxy.Cut{After: true}})
//		err := transfer(ctx, db)
//		if cut.Fired() == 0 {
//			cut.Disarm()
//			break
//		}
//		… // nil means committed; an error means not, or says what is known
//	}
//
// # Cancel requests
//
// pgx sends a cancel request when it finds a connection broken, and so may cancel a COMMIT that
// the server has got and not done. Where that must not happen, lose the cancel requests:
//
//	proxy.Arm(faultproxy.Fault{From: faultproxy.Canceler, Every: true, Do: faultproxy.Cut{}})
package faultproxy
