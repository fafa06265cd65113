package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// query is SQL with its parameters.
type query struct {
	text string
	args []any
}

// rowCost is what it takes to look at a device, in entries of an index.
const rowCost = 6

// maxArms is the most classes of which each is read in the order of labels.
const maxArms = 64

// entry is a device in a list that is being put together.
type entry struct {
	row int64
	key any // int64 or string, as the order has it
	id  string
}

func (e *entry) compare(other *entry) int {
	c := 0
	switch key := e.key.(type) {
	case int64:
		c = cmp.Compare(key, other.key.(int64))
	case string:
		c = strings.Compare(key, other.key.(string))
	}
	return cmp.Or(c, strings.Compare(e.id, other.id))
}

// entries runs a query for row, key and id.
func (s *selection) entries(q query) (out []entry, err error) {
	err = s.rows(q.text, q.args, appendTo(&out, func(rows *sql.Rows, e *entry) error { return rows.Scan(&e.row, &e.key, &e.id) }))
	return out, err
}

// List returns a page of devices with their number. There are two ways. Where few devices may match, these are collected,
// counted and sorted. Where many do, they are met soon in the order of an index, and their number is the sum of what is
// counted already, or counted apart.
func (s *Store) List(ctx context.Context, f store.Filter, upTo int) (out store.List, err error) {
	err = s.list(ctx, f, &out, func(sel *selection) error {
		out.Total, err = sel.count(upTo)
		return err
	})
	if upTo > 0 && out.Total > upTo {
		out.Total, out.More = upTo, true
	}
	return out, err
}

// list reads a page; count is called where that does not tell how many devices there are.
func (s *Store) list(ctx context.Context, f store.Filter, out *store.List, count func(*selection) error) error {
	if f.Tenant == "" {
		return fmt.Errorf("list devices: %w filter: want a tenant", store.ErrInvalid)
	}
	limit := store.PageSize(f.Limit)
	return s.snapshot(ctx, "list devices", func(r *reader) error {
		all, err := r.selection(f)
		if err != nil {
			return err
		}
		sel := all.in(statesOf(f))
		if sel.none {
			return nil
		}
		if d := sel.drive(limit, true); sel.few(d) {
			found, err := sel.collect(d)
			if err != nil {
				return err
			}
			out.Total = len(found)
			out.Devices, err = r.fetch(sel.cut(found, limit))
			return err
		}
		if f.Sort == store.ByState {
			out.Devices, err = all.listByState(limit)
		} else {
			out.Devices, err = sel.list(limit)
		}
		if err == nil {
			err = count(sel)
		}
		return err
	})
}

// collect returns all selected devices, which are among the rows of d.
func (s *selection) collect(d *driver) ([]entry, error) {
	key, args := s.key(), []any(nil)
	if s.Sort == store.ByState {
		key, args = s.rank()
	}
	c := s.conditions(d.proves)
	c.addAll(d.rows())
	return s.entries(query{`SELECT d.row, ` + key + `, d.id FROM ` + byRow + ` WHERE ` + c.String(), append(args, c.args...)})
}

// rank returns the place of a device's state in store.States.
func (s *selection) rank() (string, []any) {
	var text strings.Builder
	var args []any
	for i, state := range store.States {
		c := &clause{}
		c.addStates([]result.State{state}, s.now)
		fmt.Fprintf(&text, ` WHEN %s THEN %d`, c, i)
		args = append(args, c.args...)
	}
	return `CASE` + text.String() + ` ELSE -1 END`, args
}

// key returns the column that an order is by, besides the id.
func (s *selection) key() string {
	switch s.Sort {
	case store.ByLabel:
		return `d.label`
	case store.ByLastSeen:
		return `d.last_seen`
	case store.BySince:
		return `d.changed`
	}
	return `0`
}

// cut returns the page of entries in any order: sorted, each once, after After.
func (s *selection) cut(entries []entry, limit int) []entry {
	sign := 1
	if s.Desc {
		sign = -1
	}
	slices.SortFunc(entries, func(a, b entry) int { return sign * a.compare(&b) })
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.row == b.row })
	if s.After != "" {
		after := entry{key: s.afterKey(), id: s.After}
		entries = slices.DeleteFunc(entries, func(e entry) bool { return sign*e.compare(&after) <= 0 })
	}
	return entries[:min(limit, len(entries))]
}

// afterKey returns AfterKey as the order's key has it. What is none is before all.
func (s *selection) afterKey() any {
	switch s.Sort {
	case store.ByLabel:
		return s.AfterKey
	case store.ByState:
		return int64(slices.Index(store.States, result.State(s.AfterKey)))
	case store.ByLastSeen, store.BySince:
		n, _ := strconv.ParseInt(s.AfterKey, 10, 64)
		return n
	}
	return int64(0)
}

// list reads a page in the order of indexes, part by part: each only as far as the page that there is without it.
func (s *selection) list(limit int) ([]store.Device, error) {
	if s.none {
		return nil, nil
	}
	parts, err := s.page(limit)
	if err != nil {
		return nil, err
	}
	var page []entry
	for _, p := range parts {
		var last *entry
		if len(page) == limit {
			last = &page[limit-1]
		}
		some, err := s.entries(s.query(p, limit, last))
		if err != nil {
			return nil, err
		}
		page = s.cut(append(page, some...), limit)
	}
	return s.fetch(page)
}

// listByState lists the states one after the other.
func (s *selection) listByState(limit int) (out []store.Device, err error) {
	order, wanted := slices.Clone(store.States), statesOf(s.Filter)
	if s.Desc {
		slices.Reverse(order)
	}
	if s.After != "" {
		order = order[max(slices.Index(order, result.State(s.AfterKey)), 0):]
	}
	for _, state := range order {
		if len(wanted) > 0 && !slices.Contains(wanted, state) {
			continue
		}
		one := s.in([]result.State{state})
		one.Sort = store.ByID
		if s.AfterKey != string(state) {
			one.After = ""
		}
		page, err := one.list(limit - len(out))
		if err != nil {
			return nil, err
		}
		if out = append(out, page...); len(out) == limit {
			break
		}
	}
	return out, nil
}

// part is some of the devices: in the order of an index, unless it is byRow.
type part struct {
	from  string
	extra *clause
	known proven
	found *driver // that its devices are among: shorter than to look at the text or digests of many; nil: none
}

// silence ranks the states of devices of which nothing was heard for long, or ever.
var silence = map[result.State]int{result.NeverAttested: 2, result.Stale: 1}

// page returns the parts that together have the entries of a page, each once. Matches are spread evenly within a part, as
// far as that is known: by state as shown, or by class.
func (s *selection) page(limit int) ([]part, error) {
	if d := s.drive(limit, false); d != nil {
		return []part{{from: byRow, extra: d.rows(), known: d.proves}}, nil
	}
	var out []part
	var known proven
	beside := func() *clause { return &clause{} }
	if len(s.states) > 0 && s.late <= s.effort.late {
		known.states = true // the state is as shown
		if s.late > 0 {
			beside = func() *clause { return &clause{[]string{`+d.row NOT IN (` + lateRows + `)`}, s.lateArgs()} }
		}
	}
	found := s.leastFound()
	add := func(index string, c *clause, known proven) {
		out = append(out, part{`devices d INDEXED BY ` + index, c.addAll(beside()), known, found})
	}
	shown := s.shownStates()
	inParts := func(index string) {
		for _, state := range shown {
			add(index, &clause{[]string{`d.shown = ?`}, []any{state}}, known)
		}
	}
	switch s.Sort {
	case store.ByLabel:
		of := known
		of.class = true
		if s.sortsClasses() {
			c := s.asShown()
			c.add(`d.class IN (SELECT c.row FROM classes c WHERE `+s.class.String()+`)`, s.class.args...)
			add(`devices_of_class_in_label`, c, of)
			break
		}
		classes, err := s.fewClasses()
		if err != nil {
			return nil, err
		}
		for _, class := range classes {
			c := s.asShown()
			c.add(`d.class = ?`, class)
			add(`devices_of_class_in_label`, c, of)
		}
		if len(classes) == 0 {
			add(`devices_in_label`, s.asShown(), known)
		}
	case store.ByLastSeen:
		if !s.Desc {
			slices.SortStableFunc(shown, func(a, b result.State) int { return silence[b] - silence[a] })
		}
		inParts(`devices_in_seen`)
	case store.BySince:
		inParts(`devices_in_since`)
	default:
		if s.narrow() {
			inParts(`devices_in_state`)
		} else {
			add(s.byID(), &clause{}, known)
		}
	}
	if s.late > 0 && s.late <= s.effort.late {
		late := &clause{[]string{`d.row IN (` + lateRows + `)`}, s.lateArgs()}
		out = append(out, part{from: byRow, extra: late})
	}
	return out, nil
}

// leastFound returns the rows found by text or digest, nil: none were looked up.
func (s *selection) leastFound() *driver {
	if len(s.found) == 0 {
		return nil
	}
	d := slices.MinFunc(s.found, func(a, b driver) int { return a.size - b.size })
	return &d
}

// conditions returns what the devices of a part must be.
func (p *part) conditions(s *selection) *clause {
	known, extra := p.known, &clause{}
	if p.found != nil {
		extra.add(`+`+p.found.rows().String(), p.found.args...)
		known.text, known.digest = known.text || p.found.proves.text, known.digest || p.found.proves.digest
	}
	return s.conditions(known).addAll(p.extra).addAll(extra)
}

// byID returns the index that devices are read in the order of ids by: where only a text is looked for, the one that has
// it.
func (s *selection) byID() string {
	if s.Query != "" && s.class == nil && len(s.states) == 0 {
		return `devices_by_text`
	}
	return `devices_in_id`
}

// query returns the query for the first entries of a part, up to and with last, nil: all.
func (s *selection) query(p part, limit int, last *entry) query {
	key, than, down := s.key(), ` > `, ``
	until := ` <= `
	if s.Desc {
		than, down, until = ` < `, ` DESC`, ` >= `
	}
	if last != nil { // few are left to look at
		p.found = nil
	}
	c := p.conditions(s)
	order, place, values := `d.id`+down, `d.id`, `?`
	of := func(key any, id string) []any { return []any{id} }
	if key != `0` {
		order, place, values = key+down+`, `+order, `(`+key+`, d.id)`, `(?, ?)`
		of = func(key any, id string) []any { return []any{key, id} }
	}
	if s.After != "" {
		c.add(place+than+values, of(s.afterKey(), s.After)...)
	}
	if last != nil {
		c.add(place+until+values, of(last.key, last.id)...)
	}
	text := `SELECT d.row, ` + key + `, d.id FROM ` + p.from + ` WHERE ` + c.String() + ` ORDER BY ` + order + ` LIMIT ?`
	return query{text, append(c.args, limit)}
}

// asShown returns the condition that the state as shown is one of shownStates.
func (s *selection) asShown() *clause {
	c := &clause{}
	if s.narrow() {
		shown := s.shownStates()
		c.add(`+d.shown IN `+places(len(shown)), anys(shown)...)
	}
	return c
}

// narrow reports whether selected devices are in a part of the states that the tenant's devices are in.
func (s *selection) narrow() bool { return s.within() < s.fleet }

// within returns how many devices are in shownStates.
func (s *selection) within() (n int) {
	for _, state := range s.shownStates() {
		n += s.all[state]
	}
	return n
}

// shownStates returns the states as shown that selected devices may have, that of most first, but for late ones if these
// are a part of their own.
func (s *selection) shownStates() (out []result.State) {
	for _, state := range store.States {
		wanted := len(s.states) == 0 || s.late > s.effort.late || slices.Contains(s.states, state)
		if s.shown[state] > 0 && wanted {
			out = append(out, state)
		}
	}
	slices.SortStableFunc(out, func(a, b result.State) int { return s.shown[b] - s.shown[a] })
	return out
}

// sortsClasses reports whether the order is by label, which an index has for each class, and nothing else is asked for of
// so many devices that they can be sorted by it.
func (s *selection) sortsClasses() bool {
	return s.Sort == store.ByLabel && s.class != nil && len(s.marks) == 0 && s.counted() && s.mayShow(s.shown) <= s.effort.index
}

// fewClasses returns the classes that selected devices are of, none if they are many or all.
func (s *selection) fewClasses() (out []int64, err error) {
	text, args := `SELECT DISTINCT k.class FROM class_counts k WHERE k.mark = ? AND k.class > 0`, []any{s.rarest()}
	switch {
	case s.class != nil:
		text = `SELECT DISTINCT c.row FROM classes c JOIN class_counts k ON k.mark = ? AND k.class = c.row
			WHERE ` + s.class.String()
		args = append(args, s.class.args...)
	case len(s.marks) == 0:
		return nil, nil
	}
	err = s.rows(text+` LIMIT ?`, append(args, maxArms+1), appendTo(&out, scanOne))
	if len(out) > maxArms {
		out = nil
	}
	return out, err
}

// scanCost estimates what it takes to meet so many devices in the order of an index, in entries of it, if matches are
// spread evenly: labels are in one index for all states.
func (s *selection) scanCost(limit int) int {
	met := s.within()
	if per := s.bound / limit; per > 0 {
		met /= per
	}
	cost := met
	if s.Sort == store.ByLabel && met > 0 {
		cost = int(float64(met) * float64(s.fleet) / float64(s.within()))
	}
	if len(s.marks) > 0 || len(s.Digest) > 0 || s.Query != "" || s.late > s.effort.late {
		cost += met * 2
	}
	return cost
}

// fetch reads the devices of a list.
func (r *reader) fetch(entries []entry) ([]store.Device, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	rows, place := make([]int64, len(entries)), make(map[string]int, len(entries))
	for i, e := range entries {
		rows[i], place[e.id] = e.row, i
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return nil, err
	}
	found, err := r.devices(byRow+` WHERE d.row IN (SELECT value FROM json_each(?))`, string(list))
	if err != nil {
		return nil, err
	}
	out := make([]store.Device, len(entries))
	for _, d := range found {
		out[place[d.ID]] = d
	}
	return out, nil
}
