package txn

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"

	"github.com/jackc/pgx/v5/pgconn"
)

// prepared are the statements of a connection whose parameters and columns are known,
// least recently used last. They are kept apart from pgx's own, which forgets every
// statement of a batch in which one failed: the next attempt would pay for all of them
// again.
type prepared struct {
	capacity int
	named    bool // prepared on the server under a name, else only described
	byText   map[string]*list.Element
	recent   *list.List // of *pgconn.StatementDescription
	dropped  []string   // names to be freed on the server with the next preparation
}

func newPrepared(capacity int, named bool) *prepared {
	return &prepared{capacity: max(capacity, 1), named: named, byText: map[string]*list.Element{}, recent: list.New()}
}

func (p *prepared) get(sql string) *pgconn.StatementDescription {
	e := p.byText[sql]
	if e == nil {
		return nil
	}
	p.recent.MoveToFront(e)
	return e.Value.(*pgconn.StatementDescription)
}

// name is what a statement is called on the server. It says what the statement is: where a
// connection pooler mixes sessions up, a name means the same in all of them, or nothing.
func (p *prepared) name(sql string) string {
	if p == nil || !p.named {
		return ""
	}
	sum := sha256.Sum256([]byte(sql))
	return "interlock_" + hex.EncodeToString(sum[:24])
}

func (p *prepared) put(d *pgconn.StatementDescription) {
	p.byText[d.SQL] = p.recent.PushFront(d)
	if p.recent.Len() > p.capacity {
		p.forget(p.recent.Back())
	}
}

// drop forgets a statement whose plan or description is no longer right.
func (p *prepared) drop(sql string) {
	if e := p.byText[sql]; e != nil {
		p.forget(e)
	}
}

func (p *prepared) forget(e *list.Element) {
	d := p.recent.Remove(e).(*pgconn.StatementDescription)
	delete(p.byText, d.SQL)
	if d.Name != "" {
		p.dropped = append(p.dropped, d.Name)
	}
}

// clear forgets all, after somebody freed some of them behind our back.
func (p *prepared) clear() {
	for p.recent.Len() > 0 {
		p.forget(p.recent.Back())
	}
}
