package link

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill-data/waybill"
)

const (
	seconds = 60 // rates and delays are of the last minute
	buckets = 96 // of delays; each is a fifth wider than the one before, from 100 µs to an hour
)

// stats is what is shown of a link. It is safe for parallel use.
type stats struct {
	mu       sync.Mutex
	status   waybill.LinkStatus
	tables   map[waybill.TableName]*waybill.TableStatus
	versions map[waybill.TableName]int // latest, of every name there was
	slots    [seconds]second
}

// second is what happened in one second.
type second struct {
	at      int64
	changes int64
	delays  [buckets]uint32
}

func newStats(name string) *stats {
	return &stats{status: waybill.LinkStatus{Link: name, State: "starting"}, tables: map[waybill.TableName]*waybill.TableStatus{},
		versions: map[waybill.TableName]int{}}
}

func (s *stats) begin(run int64, host string, process int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Run, s.status.Host, s.status.Process = run, host, process
}

func (s *stats) setState(state, waiting string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.State, s.status.Waiting = state, waiting
	if state == "streaming" || state == "copying" {
		s.status.Error, s.status.Hint = "", ""
	}
}

func (s *stats) trouble(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Error, s.status.Hint = err.Error(), waybill.HintOf(err)
}

func (s *stats) resumed(p waybill.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Position = p
}

func (s *stats) position() waybill.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Position
}

// table changes what is shown of a table.
func (s *stats) table(name waybill.TableName, change func(*waybill.TableStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[name]
	if t == nil {
		t = &waybill.TableStatus{Table: name}
		s.tables[name] = t
	}
	change(t)
}

// waiting shows that a table is still to be copied, so that nobody takes the link for settled.
func (s *stats) waiting(name waybill.TableName) {
	s.table(name, func(t *waybill.TableStatus) { t.State = "waiting" })
}

// only drops what is shown of tables that a new session does not know.
func (s *stats) only(known map[string]*table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := map[waybill.TableName]bool{}
	for _, t := range known {
		shown[t.name] = true
	}
	maps.DeleteFunc(s.tables, func(name waybill.TableName, _ *waybill.TableStatus) bool { return !shown[name] })
}

// version notes a table's version, also of one that is not shown yet or any more.
func (s *stats) version(name waybill.TableName, number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[name] = number
}

func (s *stats) renamed(from, to waybill.TableName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[from]; t != nil && from != to {
		delete(s.tables, from)
		t.Table = to
		s.tables[to] = t
	}
}

func (s *stats) dropped(name waybill.TableName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tables, name)
}

func (s *stats) copied(name waybill.TableName, rows int64) {
	s.table(name, func(t *waybill.TableStatus) { t.Rows += rows })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.RowsCopied += rows
}

func (s *stats) reshaped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Reshapes++
}

// building is told of long work at the target.
func (s *stats) building(what string, part float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Waiting = ""
	if part < 1 {
		s.status.Waiting = what
	}
}

// part counts the changes of a transaction that is not at its end.
func (s *stats) part(b waybill.ChangeBatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Changes += int64(len(b.Changes))
	s.slot(time.Now()).changes += int64(len(b.Changes))
}

// applied counts a batch that is durable.
func (s *stats) applied(b waybill.ChangeBatch, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Position = b.Position
	s.status.Changes += int64(len(b.Changes))
	s.status.Transactions += int64(b.Transactions)
	slot := s.slot(now)
	slot.changes += int64(len(b.Changes))
	if b.Committed.IsZero() || b.Transactions == 0 && !b.Heartbeat {
		return
	}
	s.status.Delay = max(0, now.Sub(b.Committed).Seconds())
	slot.delays[bucket(s.status.Delay)]++
	if b.Transactions > 1 && !b.Oldest.IsZero() {
		// The batch's other transactions waited between its newest and its oldest one.
		middle := (s.status.Delay + max(0, now.Sub(b.Oldest).Seconds())) / 2
		slot.delays[bucket(middle)] += uint32(b.Transactions - 1)
	}
}

// slot returns the counts of a second. The caller holds mu.
func (s *stats) slot(now time.Time) *second {
	at := now.Unix()
	slot := &s.slots[at%seconds]
	if slot.at != at {
		*slot = second{at: at}
	}
	return slot
}

func bucket(delay float64) int {
	if delay <= 1e-4 {
		return 0
	}
	return min(buckets-1, int(math.Ceil(math.Log(delay/1e-4)/math.Log(1.2))))
}

// upper returns the longest delay of a bucket.
func upper(bucket int) float64 { return 1e-4 * math.Pow(1.2, float64(bucket)) }

// snapshot returns the status as it is now.
func (s *stats) snapshot(now time.Time) waybill.LinkStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status
	status.Updated = now
	var changes int64
	var delays [buckets]int64
	for i := range s.slots {
		if age := now.Unix() - s.slots[i].at; age < 0 || age >= seconds {
			continue
		}
		changes += s.slots[i].changes
		for b, n := range s.slots[i].delays {
			delays[b] += int64(n)
		}
	}
	status.Rate = float64(changes) / seconds
	status.DelayP50, status.DelayP99 = quantile(delays[:], 0.5), quantile(delays[:], 0.99)
	for _, name := range slices.SortedFunc(maps.Keys(s.tables), func(a, b waybill.TableName) int { return strings.Compare(a.String(), b.String()) }) {
		t := *s.tables[name]
		t.Version = s.versions[name]
		status.Tables = append(status.Tables, t)
	}
	return status
}

func quantile(counts []int64, q float64) float64 {
	var all, seen int64
	for _, n := range counts {
		all += n
	}
	for b, n := range counts {
		seen += n
		if n > 0 && float64(seen) >= q*float64(all) {
			return upper(b)
		}
	}
	return 0
}

// counts are what the record of the run ends with.
func (s *stats) counts() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]int64{"rows copied": s.status.RowsCopied, "changes": s.status.Changes,
		"transactions": s.status.Transactions, "structure changes": s.status.Reshapes}
}

// show saves the status every second.
func (s *session) show(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := s.publish(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (r *run) publish(ctx context.Context) error {
	status := r.stats.snapshot(time.Now())
	if r.o.Report != nil {
		r.o.Report(status)
	}
	return r.o.Ledger.SaveStatus(ctx, status)
}
