package criticalrecord

import "github.com/interlock-go/interlock/txn"

// A Durability says what must have happened before a call says that a record is written. With
// each of them a record that was acknowledged is there after the server crashed. There is none
// without that: what may be lost is no critical record.
type Durability uint8

const (
	// Flushed is the zero value: the record is on the server's disk and, where there are
	// synchronous standbys, on theirs.
	Flushed Durability = iota

	// Applied is Flushed, and whoever reads on a synchronous standby sees the record.
	Applied

	// Local is Flushed without waiting for standbys: a failover may lose the record, a crash
	// does not.
	Local
)

// setting is what COMMIT waits for. It is always said: a server, database or role may have
// synchronous_commit off by default.
func (d Durability) setting() (txn.SynchronousCommit, error) {
	switch d {
	case Flushed:
		return txn.SyncOn, nil
	case Applied:
		return txn.SyncRemoteApply, nil
	case Local:
		return txn.SyncLocal, nil
	}
	return "", &InvalidError{Field: "Durability"}
}
