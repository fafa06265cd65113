package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Total returns how many devices a filter selects.
func (s *Store) Total(ctx context.Context, f store.Filter, upTo int) (n int, more bool, err error) {
	if f.Tenant == "" {
		return 0, false, fmt.Errorf("count devices: %w filter: want a tenant", store.ErrInvalid)
	}
	err = s.snapshot(ctx, "count devices", func(r *reader) error {
		all, err := r.selection(f, upTo > 0)
		if err != nil {
			return err
		}
		if sel := all.in(statesOf(f)); !sel.none {
			n, more, err = sel.count(upTo)
		}
		return err
	})
	if upTo > 0 && n > upTo {
		n, more = upTo, true
	}
	return n, more, err
}

// count returns how many devices there are, if these are at most upTo (0: without bound), otherwise more than upTo; more
// says that it stopped before it had counted that many. Without digest and text, and with at most one mark, it adds up
// what is counted already.
func (s *selection) count(upTo int) (n int, more bool, err error) {
	switch {
	case len(s.marks) > 1 || len(s.Digest) > 0 || s.Query != "": // nobody counts these
	case s.late <= s.effort.late:
		n, err = s.sum()
		return n, false, err
	case len(s.marks) == 0 && s.class == nil:
		return s.are(), false, nil
	}
	return s.countEach(upTo)
}

// sum adds up counts by state as shown and mends them by the devices whose state is another one.
func (s *selection) sum() (n int, err error) {
	for state, k := range s.shown {
		if len(s.states) == 0 || slices.Contains(s.states, state) {
			n += k
		}
	}
	if s.late == 0 {
		return n, nil
	}
	is := &clause{}
	is.addStates(s.states, s.now)
	c := s.beside(proven{})
	c.add(`d.row IN (`+lateRows+`)`, s.lateArgs()...)
	err = s.rows(`SELECT d.shown, `+is.String()+`, count(*) FROM `+byRow+` WHERE `+c.String()+` GROUP BY 1, 2`,
		append(is.args, c.args...), func(rows *sql.Rows) error {
			var shown result.State
			var now bool
			var k int
			if err := rows.Scan(&shown, &now, &k); err != nil {
				return err
			}
			switch was := slices.Contains(s.states, shown); {
			case was && !now:
				n -= k
			case now && !was:
				n += k
			}
			return nil
		})
	return n, err
}

// countEach counts the devices one by one, one more than upTo at most.
func (s *selection) countEach(upTo int) (n int, more bool, err error) {
	limit := -1
	if upTo > 0 {
		limit = upTo + 1
	}
	walk := *s
	walk.Sort, walk.Desc = store.ByID, false
	d, err := walk.driveFew(limit)
	if err != nil {
		return 0, false, err
	}
	if d != nil {
		found, err := walk.collect(d)
		return len(found), false, err
	}
	if len(s.Digest) > 0 && s.Query == "" && s.class == nil && len(s.marks) == 0 && len(s.states) == 0 {
		most := limit
		if s.bounded {
			most = min(limit, s.effort.count)
		}
		n, err = s.countHolders(most)
		return n, n == most && n < limit, err
	}
	var parts []part
	if s.bounded {
		parts, err = walk.parts(limit)
	} else {
		parts, err = walk.allParts()
	}
	if err != nil || len(parts) == 0 {
		return 0, false, err
	}
	var ordered []part
	for _, p := range parts {
		if p.prefix != nil {
			ordered = append(ordered, p)
		}
	}
	var until *entry
	if s.bounded && len(ordered) > 0 {
		until, err = walk.horizon(ordered, nil, walk.entriesFor(min(s.effort.count, s.purse())))
		if err != nil {
			return 0, false, err
		}
	}
	var text []string
	var args []any
	for _, p := range parts {
		c := p.conditions(&walk)
		if until != nil {
			c.add(`d.id <= ?`, until.id)
		}
		text, args = append(text, `SELECT d.row FROM `+p.from+` WHERE `+c.String()), append(args, c.args...)
	}
	err = s.row(`SELECT count(*) FROM (`+strings.Join(text, ` UNION ALL `)+` LIMIT ?)`, append(args, limit), &n)
	return n, until != nil && n < limit, err
}

// allParts returns parts that together have all devices, each once. Who has marks, a digest or a state is looked up before,
// so that an index that has the rest of what is asked for is all that is read: devices lie far apart.
func (s *selection) allParts() ([]part, error) {
	if err := s.findAll(); err != nil {
		return nil, err
	}
	classes := s.class
	if classes == nil {
		classes = &clause{[]string{`c.tenant = ?`}, []any{s.Tenant}}
	}
	all := part{
		from: `devices d INDEXED BY devices_of_class`, extra: s.asShown(), known: proven{class: true, states: true},
		prefix: &clause{[]string{`d.class IN (SELECT c.row FROM classes c WHERE ` + classes.String() + `)`}, classes.args},
	}
	late := s.lateParts()
	if len(late) > 0 {
		all.extra.add(`+d.row NOT IN (`+lateRows+`)`, s.lateArgs()...)
	}
	return append(late, all), nil
}

// findAll looks up the rest of the marks, the digest, and the states where they are not as shown for many.
func (s *selection) findAll() error {
	var known proven
	if s.set != nil {
		known = s.set.proves
	}
	find := func(proves proven, query string, args ...any) error {
		found, err := s.lookUp(query, args, -1)
		return s.found(found, proves, err)
	}
	for i := known.marks; i < len(s.marks); i++ {
		if err := find(proven{marks: i + 1}, `SELECT m.device FROM device_marks m WHERE m.mark = ?`, s.marks[i].row); err != nil {
			return err
		}
	}
	if len(s.Digest) > 0 && !known.digest {
		if err := find(proven{digest: true}, digestHolders, s.Digest, s.Digest, s.Digest); err != nil {
			return err
		}
	}
	if len(s.states) == 0 || s.late <= s.effort.late {
		return nil
	}
	c := &clause{[]string{`d.tenant = ?`}, []any{s.Tenant}}
	c.addStates(s.states, s.now)
	return find(proven{states: true}, `SELECT d.row FROM devices d INDEXED BY devices_by_state WHERE `+c.String(), c.args...)
}

// countHolders counts the devices that have a digest. A look at each is only needed where other tenants have devices too.
func (s *selection) countHolders(limit int) (n int, err error) {
	alone, from := false, digestHolders
	err = s.row(`SELECT NOT EXISTS (SELECT 1 FROM facets WHERE tenant < ?) AND NOT EXISTS (SELECT 1 FROM facets WHERE tenant > ?)`,
		[]any{s.Tenant, s.Tenant}, &alone)
	args := []any{s.Digest, s.Digest, s.Digest}
	if !alone {
		from = `SELECT x.device FROM (` + digestHolders + `) x CROSS JOIN devices d ON d.row = x.device AND d.tenant = ?`
		args = append(args, s.Tenant)
	}
	if err == nil {
		err = s.row(`SELECT count(*) FROM (SELECT DISTINCT device FROM (`+from+`) LIMIT ?)`, append(args, limit), &n)
	}
	return n, err
}
