package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// reader reads one state of the database. Its statements are not kept: lists have too many forms for that.
type reader struct {
	ctx    context.Context
	tx     *sql.Tx
	began  time.Time
	effort effort
}

// snapshot runs read on one state of the database.
func (s *Store) snapshot(ctx context.Context, what string, read func(*reader) error) error {
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return fmt.Errorf("%s: %w", what, ErrClosed)
	}
	tx, err := s.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err == nil {
		err = read(&reader{ctx, tx, time.Now(), s.effort})
		_ = tx.Rollback() // there is nothing to keep
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	return nil
}

// row reads one row; no row is sql.ErrNoRows.
func (r *reader) row(query string, args []any, into ...any) error {
	return r.tx.QueryRowContext(r.ctx, query, args...).Scan(into...)
}

// rows calls scan for each row of query.
func (r *reader) rows(query string, args []any, scan func(*sql.Rows) error) error {
	rows, err := r.tx.QueryContext(r.ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// effort says how far lists go in one way before they take another.
type effort struct {
	// collect is the most devices that are collected and sorted, without asking whether another way is shorter.
	collect int
	// found is the most devices that are looked up by text.
	found int
	// index is the most entries of an index that are read to find out which these are.
	index int
	// late is the most devices with a state that is not written down yet for which lists make use of written states.
	late int
	// first is the fewest entries of indexes that are read before another way than going on is looked for.
	first int
	// walk is the most entries of indexes that are read until a page is full; what is looked up for one counts as several.
	walk int
	// stretch is how much of walk is spent between looks at the clock.
	stretch int
	// time is how long a page is walked for, at which it ends even if it spent less. What is read first may take longer.
	time time.Duration
	// count is like walk, for counting; it counts no further than walk allows, too.
	count int
}

var defaultEffort = effort{
	collect: 3_000, found: 15_000, index: 25_000, late: 5_000, first: 4_000, walk: 40_000, stretch: 8_000, time: 50 * time.Millisecond, count: 15_000,
}

// mark is one that all selected devices have.
type mark struct {
	row int64
	n   int
}

// selection is a filter of one tenant with what the tables beside devices tell of it.
type selection struct {
	*reader
	store.Filter
	bounded bool // effort.walk and effort.count matter
	spent   *int // of effort.walk
	now     int64
	fleet   int                  // devices of the tenant
	all     map[result.State]int // the same by state as shown
	class   *clause              // on classes c; nil: all
	marks   []mark               // rarest first
	shown   map[result.State]int // devices in the classes and with the rarest mark, by state as shown
	inClass map[result.State]int // all in those of the classes in which some have that mark; nil: not counted, or without class or mark
	set     *rowSet              // that selected devices are in; nil: nothing was looked up
	late    int                  // devices whose state is not as shown; not counted where no states are asked for
	current map[result.State]int // of the tenant, by state now; nil: late is not above effort.late

	states  []result.State // current states; nil: all
	drivers []driver       // in these states
	bound   int            // it selects no more
	none    bool           // it selects nothing
	many    bool           // what its drivers have in common is not few
}

func statesOf(f store.Filter) []result.State {
	var out []result.State
	if f.State != "" {
		out = append(out, f.State)
	}
	for _, state := range f.States {
		if !slices.Contains(out, state) {
			out = append(out, state)
		}
	}
	return out
}

// lateRows are devices whose state is not as shown: silent ones that Sweep has not come to, and what was declared
// silent ahead of its time. Parameters: now, tenant, tenant, now.
const lateRows = `SELECT d.row FROM devices d INDEXED BY devices_overdue
		WHERE d.silenced = 0 AND d.stale_at > 0 AND d.state <> 'never-attested' AND d.stale_at <= ? AND d.tenant = ?
	UNION ALL SELECT d.row FROM devices d INDEXED BY devices_silenced
		WHERE d.tenant = ? AND d.silenced = 1 AND d.stale_at > ? AND d.state <> 'never-attested'`

func (s *selection) lateArgs() []any { return []any{s.now, s.Tenant, s.Tenant, s.now} }

// selection looks a filter up. Its states are left to in.
func (r *reader) selection(f store.Filter, bounded bool) (*selection, error) {
	s := &selection{reader: r, Filter: f, bounded: bounded, spent: new(int), now: f.Now.UnixMicro()}
	for _, step := range []func() error{s.findMarks, s.findClasses, s.countShown, s.findMarked, s.findText, s.findDigest} {
		if err := step(); err != nil || s.none {
			return s, err
		}
	}
	return s, nil
}

// countShown counts devices by state as shown, and those for which that is wrong.
func (s *selection) countShown() (err error) {
	if s.all, err = s.shownNow(s.Tenant); err != nil {
		return err
	}
	for _, n := range s.all {
		s.fleet += n
	}
	if s.shown, err = s.byShown(s.rarest()); err != nil {
		return err
	}
	s.none = len(s.shown) == 0
	if len(s.marks) > 0 && s.class != nil {
		if err := s.countClasses(); err != nil {
			return err
		}
	}
	if s.Sort != store.ByState && len(statesOf(s.Filter)) == 0 {
		return nil
	}
	err = s.row(`SELECT count(*) FROM (`+lateRows+` LIMIT ?)`, append(s.lateArgs(), s.effort.late+1), &s.late)
	if err == nil && s.late > s.effort.late {
		s.current, err = s.reader.current(s.Tenant, s.now)
	}
	return err
}

// countClasses counts the devices in the classes in which some have the rarest mark, where these classes or the mark are
// not of too many devices.
func (s *selection) countClasses() (err error) {
	if s.marks[0].n >= s.effort.index {
		least := s.fleet
		for kind, value := range map[string]string{"vendor": s.Vendor, "model": s.Model, "firmware": s.Firmware, "group": s.Group} {
			if value == "" {
				continue
			}
			var n int
			err := s.row(`SELECT coalesce(sum(n), 0) FROM facets WHERE tenant = ? AND kind = ? AND value = ?`, []any{s.Tenant, kind, value}, &n)
			if err != nil {
				return err
			}
			least = min(least, n)
		}
		if least > s.effort.index {
			return nil
		}
	}
	s.inClass, err = s.countsBy(`SELECT k.shown, sum(k.n) FROM classes c JOIN class_counts k ON k.mark = 0 AND k.class = c.row
		WHERE `+s.class.String()+withMark+` GROUP BY 1`, append(slices.Clone(s.class.args), s.rarest())...)
	return err
}

// in returns the selection for some states; nil: all.
func (s *selection) in(states []result.State) *selection {
	one := *s
	one.states, one.drivers, one.many = states, nil, false
	if len(states) == 0 {
		one.late = 0
	}
	one.bound = one.mayShow(s.shown)
	if one.late > s.effort.late {
		one.bound = min(one.bound, one.are())
	}
	if s.set != nil {
		one.bound = min(one.bound, len(s.set.rows))
	}
	one.addDrivers()
	for _, d := range one.drivers {
		one.bound = min(one.bound, d.size)
	}
	one.none = s.none || one.bound == 0
	return &one
}

func (s *selection) findMarks() error {
	find := func(kind, name, value string) error {
		var m mark
		err := s.row(`SELECT row, n FROM marks WHERE tenant = ? AND kind = ? AND name = ? AND value = ?`,
			[]any{s.Tenant, kind, name, value}, &m.row, &m.n)
		if errors.Is(err, sql.ErrNoRows) {
			s.none = true
			return nil
		}
		s.marks = append(s.marks, m)
		return err
	}
	for name, value := range s.Labels {
		if err := find("label", name, value); err != nil || s.none {
			return err
		}
	}
	if s.Finding != "" {
		if err := find("code", "", s.Finding); err != nil || s.none {
			return err
		}
	}
	if s.Cluster != "" {
		if err := find("cluster", "", s.Cluster); err != nil || s.none {
			return err
		}
	}
	slices.SortFunc(s.marks, func(a, b mark) int { return a.n - b.n })
	return nil
}

func (s *selection) findClasses() error {
	c := &clause{}
	for _, attribute := range []struct{ condition, value string }{
		{`c.model = ?`, s.Model},
		{`c.vendor = ?`, s.Vendor},
		{`c.firmware = ?`, s.Firmware},
		{`c.grouping = ?`, s.Group},
		{`c.level = ?`, string(s.Level)},
		{`c.status = ?`, string(s.Status)},
	} {
		if attribute.value != "" {
			c.add(attribute.condition, attribute.value)
		}
	}
	if len(c.conditions) > 0 {
		c.add(`c.tenant = ?`, s.Tenant)
		s.class = c
	}
	return nil
}

// rarest returns the mark by which class_counts is read: 0 counts all devices.
func (s *selection) rarest() int64 {
	if len(s.marks) > 0 {
		return s.marks[0].row
	}
	return 0
}

// byShown counts the devices of the classes that have a mark by state as shown.
func (s *selection) byShown(mark int64) (map[result.State]int, error) {
	switch kind, value := s.onlyFew(); {
	case mark == 0 && kind != "":
		return s.countsBy(`SELECT substr(value, ?), n FROM facets WHERE tenant = ? AND kind = ? AND value > ? AND value < ?`,
			utf8.RuneCountInString(value)+2, s.Tenant, kind, value+" ", value+"!")
	case s.class != nil:
		return s.countsBy(`SELECT k.shown, sum(k.n) FROM classes c JOIN class_counts k ON k.mark = ? AND k.class = c.row
			WHERE `+s.class.String()+` GROUP BY 1`, append([]any{mark}, s.class.args...)...)
	case mark != 0:
		return s.countsBy(`SELECT shown, n FROM class_counts WHERE mark = ? AND class = 0`, mark)
	}
	return s.all, nil
}

// countsBy reads how many devices are in each state as shown.
func (r *reader) countsBy(query string, args ...any) (map[result.State]int, error) {
	out := make(map[result.State]int)
	err := r.rows(query, args, func(rows *sql.Rows) error {
		var state result.State
		var n int
		err := rows.Scan(&state, &n)
		out[state] = n
		return err
	})
	return out, err
}

// onlyFew returns the kind and value of facets of which the classes are, if it is only the level or the status: nearly
// all classes have one.
func (s *selection) onlyFew() (kind, value string) {
	switch {
	case s.Vendor != "" || s.Model != "" || s.Firmware != "" || s.Group != "":
	case s.Level != "" && s.Status == "":
		return "level", string(s.Level)
	case s.Status != "" && s.Level == "":
		return "status", string(s.Status)
	}
	return "", ""
}

// withMark are the classes of which some devices have the rarest mark.
const withMark = ` AND EXISTS (SELECT 1 FROM class_counts m WHERE m.mark = ? AND m.class = c.row) = 1`

// mayShow returns how many of the devices that were counted may be in the states: with late ones all that are late.
func (s *selection) mayShow(shown map[result.State]int) (n int) {
	all := 0
	for state, k := range shown {
		all += k
		if len(s.states) == 0 || slices.Contains(s.states, state) {
			n += k
		}
	}
	if s.late > s.effort.late {
		return all
	}
	return min(n+s.late, all)
}

// are returns how many of the tenant's devices are in the states now.
func (s *selection) are() (n int) {
	for _, state := range s.states {
		n += s.current[state]
	}
	return n
}

// places returns n parameters in brackets.
func places(n int) string { return `(` + strings.TrimSuffix(strings.Repeat(`?, `, n), `, `) + `)` }

func anys[T any](values []T) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
