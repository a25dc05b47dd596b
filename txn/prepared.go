package txn

import (
	"container/list"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// prepared are the statements of a connection whose parameters and columns are known,
// least recently used last. They are kept apart from pgx's own, which forgets every
// statement of a batch in which one failed: the next attempt would pay for all of them
// again.
type prepared struct {
	capacity int
	named    bool // prepared on the server under a name, else only described
	counter  int
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

// newName is for a statement about to be prepared. Names are short and never come back, so
// that one that is still being freed cannot be met.
func (p *prepared) newName() string {
	if p == nil || !p.named {
		return ""
	}
	p.counter++
	return "interlock_" + strconv.Itoa(p.counter)
}

func (p *prepared) put(d *pgconn.StatementDescription) {
	p.byText[d.SQL] = p.recent.PushFront(d)
	if p.recent.Len() > p.capacity {
		p.forget(p.recent.Back())
	}
}

// drop forgets a statement whose plan or description is no longer right.
func (p *prepared) drop(sql string) {
	if p == nil {
		return
	}
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

// clear forgets all, after somebody freed them behind our back.
func (p *prepared) clear() {
	if p == nil {
		return
	}
	clear(p.byText)
	p.recent.Init()
	p.dropped = nil
}
