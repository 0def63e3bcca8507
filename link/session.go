package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
)

// session is one time that both ends are open. Its fields belong to the main loop; what others need of it
// goes through channels and stats.
type session struct {
	*run
	src      waybill.ChangeSource
	sink     waybill.Sink
	position waybill.Position  // the target has everything up to it
	inside   bool              // the target holds a part of a transaction
	unsaved  int               // batches since a position was saved
	known    map[string]*table // by identity
	plans    map[*waybill.TableVersion]plan
	seen     []*waybill.TableVersion // structures that the transaction brought, to be saved with its position
	listed   *listing                // tables there were when the session began, to be looked at later

	group     *errgroup.Group
	requests  chan waybill.Request
	postponed []waybill.Request // requests that came while the link waited for a decision
	held      waybill.Request   // a hold that is not reached yet, or reached; ID 0: none
	joins     chan *joining
	ended     chan *catchup    // a catch-up that has ended and left nothing open
	catching  bool             // a catch-up is running
	after     waybill.Position // no catch-up begins before the link is here
	claims    *claims
	untidy    bool                // a catch-up left its record and stream, because its tables are gone
	freed     []waybill.TableName // names that the target gives up with the open transaction
	injected  []waybill.Change    // drops of tables that nobody else will tell the target of
}

// session opens both ends and runs until an error or the end of ctx. It never returns nil.
func (r *run) session(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.stats.setState("starting", "")
	s := &session{run: r, requests: make(chan waybill.Request, 64), joins: make(chan *joining),
		ended: make(chan *catchup, 1), claims: newClaims()}
	s.group, ctx = errgroup.WithContext(ctx)
	// The requests come first: a stop must be heard while the ends are being opened.
	s.group.Go(func() error { return s.poll(ctx, cancel) })
	s.group.Go(func() error { return s.show(ctx) })
	s.group.Go(func() error { return s.main(ctx) })
	err = s.group.Wait()
	if errors.Is(context.Cause(ctx), errStopped) {
		return errStopped
	}
	return err
}

// main opens both ends, copies what must be copied before anything else, and streams.
func (s *session) main(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	missing, err := s.open(ctx)
	if err != nil {
		return err
	}
	if missing {
		if err := s.firstCopy(ctx); err != nil {
			return err
		}
	}
	s.stats.setState("streaming", "")
	return s.stream(ctx)
}

// stream is the loop. It is between transactions whenever it looks at requests and joins.
func (s *session) stream(ctx context.Context) error {
	for {
		if err := s.between(ctx); err != nil {
			return err
		}
		b, err := s.src.Next(ctx)
		if err != nil {
			return fmt.Errorf("read changes: %w", err)
		}
		if b, err = s.admit(ctx, b); err != nil {
			return err
		}
		if err := s.write(context.WithoutCancel(ctx), b); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// mostUnsaved is how many batches in a row may become durable with a later one.
const mostUnsaved = 16

// write makes a batch durable, or lets it become so with the next one, where that is there already. It is not cut short by a stop: what is begun is finished.
func (s *session) write(ctx context.Context, b waybill.ChangeBatch) error {
	if err := s.inOrder(b.Position); err != nil {
		return err
	}
	reshapes := holdsReshape(b)
	s.fail("apply.before", "reshape.before", reshapes)
	if err := s.saveVersions(ctx, b.Position); err != nil {
		return err
	}
	b.More = b.More && !reshapes && !s.catching && s.held.ID == 0 && s.unsaved < mostUnsaved
	if err := s.sink.Apply(ctx, b); err != nil {
		return fmt.Errorf("apply changes: %w", err)
	}
	if s.inside = b.Position == ""; s.inside {
		s.o.FailPoint("apply.part")
		s.stats.part(b)
		return nil
	}
	s.fail("apply.after", "reshape.after", reshapes)
	now := time.Now()
	if err := s.save(ctx, b, now); err != nil {
		return err
	}
	if b.Position != s.position {
		s.moved = now
	}
	s.position = b.Position
	for _, name := range s.freed {
		s.claims.free(name)
	}
	s.freed = nil
	s.stats.applied(b, now)
	return s.answerDecided(ctx)
}

// save records and confirms the position of a batch that is durable. One that is not yet has another close behind.
func (s *session) save(ctx context.Context, b waybill.ChangeBatch, now time.Time) error {
	if b.More {
		s.unsaved++
		return nil
	}
	s.unsaved = 0
	if err := s.o.Ledger.SavePosition(ctx, s.o.Name, b.Position, now); err != nil {
		return err
	}
	s.fail("position.saved", "", false)
	// Invariant 1: durable in the target and saved, so the source may forget it.
	if err := s.src.Confirm(ctx, b.Position); err != nil {
		return fmt.Errorf("confirm %s: %w", b.Position, err)
	}
	s.fail("confirmed", "", false)
	return nil
}

func (s *session) fail(point, also string, reshapes bool) {
	s.o.FailPoint(point)
	if reshapes {
		s.o.FailPoint(also)
	}
}

// inOrder upholds invariant 2: positions never move backwards.
func (s *session) inOrder(p waybill.Position) error {
	if p == "" || s.position == "" {
		return nil
	}
	order, err := s.o.Source.Connector.ComparePositions(p, s.position)
	if err != nil {
		return err
	}
	if order < 0 {
		return &waybill.Error{Op: "follow " + s.o.Source.Endpoint.Name, Fault: waybill.Drift,
			Hint: "find out what happened to the source's history, then copy the tables again",
			Err:  fmt.Errorf("the source went back from %s to %s", s.position, p)}
	}
	return nil
}

func holdsReshape(b waybill.ChangeBatch) bool {
	for i := range b.Changes {
		if b.Changes[i].Op == waybill.Reshape {
			return true
		}
	}
	return false
}

// saveVersions keeps the structures that a transaction brought once its position is known.
func (s *session) saveVersions(ctx context.Context, p waybill.Position) error {
	if p == "" {
		return nil
	}
	for _, v := range s.seen {
		if err := s.keepVersion(ctx, v, p); err != nil {
			return err
		}
	}
	s.seen = nil
	return nil
}

func (r *run) keepVersion(ctx context.Context, v *waybill.TableVersion, asOf waybill.Position) error {
	number, err := r.o.Ledger.SaveVersion(ctx, r.o.Name, v, asOf)
	if err == nil {
		r.stats.version(v.Table, number)
	}
	return err
}

// close closes both ends. Their errors count only where nothing else went wrong, which the caller joins.
func (s *session) close() error {
	var errs []error
	if s.src != nil {
		errs = append(errs, s.src.Close())
	}
	if s.sink != nil {
		errs = append(errs, s.sink.Close())
	}
	return errors.Join(errs...)
}
