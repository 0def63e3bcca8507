package link

import (
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

// take claims a name for the main stream; false: the catch-up has it. A table that takes the name that
// another one of the transaction gives up has it twice until then.
func (c *claims) take(name waybill.TableName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caught[name] {
		return false
	}
	c.followed[name]++
	return true
}

// free gives a name of the main stream back, once the target does not have it any more.
func (c *claims) free(name waybill.TableName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.followed[name]--; c.followed[name] <= 0 {
		delete(c.followed, name)
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

func (c *claims) has(name waybill.TableName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.followed[name] > 0
}
