package link

import (
	"encoding/json"
	"math"
	"time"

	"github.com/waybill-data/waybill"
)

// Lease is what a pause or hold may be asked for with: after so many seconds without another word the link goes
// on by itself, because who had it wait is gone. A later pause or hold replaces it, with its own or none.
type Lease struct {
	Seconds float64 `json:"lease_seconds"`
}

// expire is the verb of the request that a link makes to itself when a lease ends.
const expire = "expire"

var expired = waybill.Request{ID: -1, Verb: expire}

// unleased returns a timer that does not fire before it is reset.
func unleased() *time.Timer {
	t := time.NewTimer(math.MaxInt64)
	t.Stop()
	return t
}

// grant starts the lease of a request, or ends the one there is.
func (s *session) grant(r waybill.Request) error {
	s.lease.Stop()
	var l Lease
	if len(r.Args) > 0 {
		if err := json.Unmarshal(r.Args, &l); err != nil {
			return cannot("lease %s: %v", r.Args, err)
		}
	}
	if l.Seconds > 0 {
		s.lease.Reset(time.Duration(l.Seconds * float64(time.Second)))
	}
	return nil
}
