package link

import (
	"slices"
	"sync"

	"github.com/waybill-data/waybill"
)

// claims keeps the main stream and a catch-up, which are at different places of the source's history, from
// meeting under one name at the target: a table may have taken at one place the name that another one still
// has at the other. It is safe for parallel use.
type claims struct {
	mu       sync.Mutex
	followed map[waybill.TableName]int  // names that the main stream's tables have at the target
	caught   map[waybill.TableName]bool // names that the running catch-up's tables have there or will have
}

func newClaims() *claims {
	return &claims{followed: map[waybill.TableName]int{}, caught: map[waybill.TableName]bool{}}
}

// namesOf returns the names that a table has at a target: its own and those of its partitions.
func namesOf(v *waybill.TableVersion) []waybill.TableName {
	all := []waybill.TableName{v.Table}
	var down func(*waybill.Partitioning)
	down = func(p *waybill.Partitioning) {
		if p == nil {
			return
		}
		for _, part := range p.Parts {
			all = append(all, part.Table)
			down(part.Nested)
		}
	}
	down(v.Partitions)
	return all
}

// take claims names for the main stream; false: the catch-up has one of them. A table that takes the name that
// another one of the transaction gives up has it twice until then.
func (c *claims) take(names ...waybill.TableName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if c.caught[name] {
			return false
		}
	}
	for _, name := range names {
		c.followed[name]++
	}
	return true
}

// free gives names of the main stream back, once the target does not have them any more.
func (c *claims) free(names ...waybill.TableName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if c.followed[name]--; c.followed[name] <= 0 {
			delete(c.followed, name)
		}
	}
}

// catch claims names for a catch-up, all or none.
func (c *claims) catch(names ...waybill.TableName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if c.followed[name] > 0 {
			return false
		}
	}
	for _, name := range names {
		c.caught[name] = true
	}
	return true
}

// release gives up all that a catch-up claimed.
func (c *claims) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.caught)
}

// has reports whether the main stream has one of the names.
func (c *claims) has(names ...waybill.TableName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(names, func(name waybill.TableName) bool { return c.followed[name] > 0 })
}
