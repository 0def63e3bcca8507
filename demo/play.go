package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill/internal/pgserver"
)

// Options say how the demonstration is played. Program is needed, the rest has useful zero values.
type Options struct {
	Program string        // the program under test
	Dir     string        // where everything is put; empty: a temporary directory that goes away unless Keep
	Span    time.Duration // how long the shop is written to; 0: 40 s
	Rate    float64       // transactions per second; 0: 100
	Kills   int           // how often the link is killed; 0: 3
	Seed    uint64        // of everything random; 0: taken from the clock
	Source  int           // major version; 0: 15, or else the newest that is installed
	Target  int           // major version; 0: 18, or else the source's
	Keep    bool          // leave servers and files for a look
	// Say, if set, is told what is going on.
	Say func(string)
}

func (o *Options) fill() error {
	if o.Span == 0 {
		o.Span = 40 * time.Second
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Kills == 0 {
		o.Kills = 3
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	if o.Source == 0 {
		if _, _, err := pgserver.BinDir(15); err == nil {
			o.Source = 15
		}
	}
	if o.Target == 0 {
		o.Target = 18
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	if o.Dir == "" {
		var err error
		o.Dir, err = os.MkdirTemp("", "waybill-demo-")
		return err
	}
	return os.MkdirAll(o.Dir, 0o755)
}

// play is one demonstration.
type play struct {
	Options
	stage   *Stage
	world   *World
	child   *Child
	counter counter
	report  Report
}

// Run plays the demonstration: two servers, a shop under writes and structure changes, a link that is killed
// again and again, and a comparison at the end. The report says whether all of it held; the error is of what
// kept it from being found out.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	temporary := o.Dir == ""
	if err := o.fill(); err != nil {
		return nil, err
	}
	p := &play{Options: o}
	defer func() {
		if p.child != nil {
			p.child.Kill()
		}
		if o.Keep && err == nil {
			return
		}
		if p.stage != nil {
			err = errors.Join(err, p.stage.Close())
		}
		// What failed leaves its logs; what was interrupted leaves nothing.
		if held := err == nil && p.report.Holds(); temporary && (held || ctx.Err() != nil) {
			err = errors.Join(err, os.RemoveAll(o.Dir))
		}
	}()
	started := time.Now()
	for _, act := range []func(context.Context) error{p.open, p.load, p.run, p.settle, p.prove} {
		if err := act(ctx); ctx.Err() != nil {
			return nil, ctx.Err()
		} else if err != nil {
			return nil, fmt.Errorf("%w (seed %d, what is left is in %s)", err, o.Seed, o.Dir)
		}
	}
	p.report.Seconds = time.Since(started).Seconds()
	return &p.report, nil
}

func (p *play) open(ctx context.Context) (err error) {
	p.stage, err = OpenStage(ctx, StageOptions{Program: p.Program, Dir: p.Dir, Source: p.Source, Target: p.Target})
	if err != nil {
		return err
	}
	p.report = Report{Seed: p.Seed, Dir: p.Dir, Source: version(ctx, p.stage.Source), Target: version(ctx, p.stage.Target)}
	p.report.SourceURL, p.report.TargetURL, p.report.Config = p.stage.SourceURL, p.stage.TargetURL, p.stage.Config
	p.Say(fmt.Sprintf("two servers are up: source PostgreSQL %s, target PostgreSQL %s", p.report.Source, p.report.Target))
	return nil
}

func version(ctx context.Context, s *pgserver.Server) string {
	rows, err := Query(ctx, s.URL("postgres"), "SHOW server_version")
	if err != nil || len(rows) == 0 {
		return fmt.Sprint(s.Major)
	}
	number, _, _ := strings.Cut(rows[0][0], " ")
	return number
}

func (p *play) load(ctx context.Context) (err error) {
	p.world = NewWorld(p.stage.SourceURL, p.Seed)
	if p.report.Loaded, err = p.world.Load(ctx, 1); err != nil {
		return err
	}
	p.report.Tables = len(p.world.Tables())
	p.Say(fmt.Sprintf("a shop of %d tables with %s rows is loaded", p.report.Tables, thousands(p.report.Loaded)))
	if _, err = p.stage.Output(ctx, "schema", "install", "shop", "--apply"); err == nil {
		p.Say("the source reports structure changes in its log (waybill schema install)")
	}
	return err
}

// run writes, changes structures and kills, all at once, from before the first copy on.
func (p *play) run(ctx context.Context) (err error) {
	if p.child, err = p.stage.Start(); err != nil {
		return err
	}
	p.Say(fmt.Sprintf("the link runs; for %d seconds the shop is written to, changed in structure, and the link is killed", int(p.Span.Seconds())))
	span, cancel := context.WithTimeout(ctx, p.Span)
	defer cancel()
	group, span := errgroup.WithContext(span)
	group.Go(func() error { return p.world.Write(span, WriteOptions{Rate: p.Rate}) })
	group.Go(func() error {
		return p.world.Reshape(span, ReshapeOptions{Every: p.Span / time.Duration(len(moves)+4)})
	})
	group.Go(func() error { return p.kill(span) })
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// kill kills the link at random moments, one in each of equal parts of the span, and starts it again.
func (p *play) kill(ctx context.Context) error {
	r := rand.New(rand.NewPCG(p.Seed, 2<<32))
	part := p.Span / time.Duration(p.Kills+1)
	start := time.Now()
	for n := range p.Kills {
		at := start.Add(time.Duration(n)*part + part/4 + time.Duration(r.Int64N(int64(part*3/4))))
		if err := p.watch(ctx, time.Until(at)); err != nil || ctx.Err() != nil {
			return err
		}
		p.child.Kill()
		p.report.Kills++
		p.Say(fmt.Sprintf("killed the link (%d of %d) after %s row changes; it starts again", p.report.Kills, p.Kills, thousands(p.counter.totals().Changes)))
		child, err := p.stage.Start()
		if err != nil {
			return err
		}
		p.child = child
	}
	return p.watch(ctx, p.Span)
}

// watch reads the link's own status until the time is over; a link that ends by itself is an error.
func (p *play) watch(ctx context.Context, span time.Duration) error {
	over := time.NewTimer(span)
	defer over.Stop()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.child.Done():
			return p.child.Err()
		case <-over.C:
			return nil
		case <-ticker.C:
			p.look(ctx)
		}
	}
}

// look adds what the link says of itself to the counts. Before it has said anything there is nothing to add.
func (p *play) look(ctx context.Context) {
	text, err := p.stage.Output(ctx, "link", "status", Link, "--offline", "-o", "json")
	if err == nil {
		p.counter.add(text)
	}
}

// settle waits until the target has everything.
func (p *play) settle(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := p.stage.Arrived(ctx, p.child); err != nil {
		return err
	}
	p.report.CatchUp = time.Since(began).Seconds()
	if err := p.watch(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	p.Say(fmt.Sprintf("writers have stopped; the target has everything after %.1f s", p.report.CatchUp))
	return nil
}

// prove compares both sides row by row and collects the report.
func (p *play) prove(ctx context.Context) error {
	p.look(ctx)
	verdict, err := p.stage.Compare(ctx)
	if err != nil {
		return err
	}
	p.report.Verdict = *verdict
	tally := &p.world.Tally
	p.report.Written = Written{Committed: tally.Committed.Load(), RolledBack: tally.RolledBack.Load(), Refused: tally.Refused.Load(), Rows: tally.Rows.Load()}
	p.report.Reshapes, p.report.Kinds = tally.Reshapes.Load(), tally.Kinds()
	p.report.RolledBack = p.report.Kinds[kindRolledBack]
	delete(p.report.Kinds, kindRolledBack)
	p.report.Carried = p.counter.totals()
	p.report.Versions, err = p.stage.Versions(ctx)
	if err != nil {
		return err
	}
	if text, err := p.stage.Output(ctx, "ledger", "verify"); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	p.report.Ledger = "whole"
	return nil
}
