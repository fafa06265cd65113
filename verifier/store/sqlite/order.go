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
	err = s.rows(q.text, q.args, func(rows *sql.Rows) error {
		var e entry
		err := rows.Scan(&e.row, &e.key, &e.id)
		out = append(out, e)
		return err
	})
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
		if d := sel.drive(limit); d.few(s.effort) {
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

// list reads a page in the order of indexes.
func (s *selection) list(limit int) ([]store.Device, error) {
	if s.none {
		return nil, nil
	}
	queries, err := s.page(limit)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, q := range queries {
		some, err := s.entries(q)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return s.fetch(s.cut(all, limit))
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

// page returns the queries that together have the entries of a page. Indexes are read in parts within which matches are
// spread evenly, as far as that is known: by state as shown, or by class.
func (s *selection) page(limit int) ([]query, error) {
	if d := s.drive(limit); d != nil {
		return []query{s.part(byRow, limit, d.proves, d.rows())}, nil
	}
	var out []query
	digest, known := s.withDigest()
	switch s.Sort {
	case store.ByLabel:
		classes, err := s.fewClasses()
		if err != nil {
			return nil, err
		}
		for _, class := range classes {
			c := s.asShown().addAll(digest)
			c.add(`d.class = ?`, class)
			of := proven{class: true, digest: known.digest}
			out = append(out, s.part(`devices d INDEXED BY devices_of_class_in_label`, limit, of, c))
		}
		if len(classes) == 0 {
			out = append(out, s.part(`devices d INDEXED BY devices_in_label`, limit, known, s.asShown().addAll(digest)))
		}
	case store.ByLastSeen, store.BySince:
		index := `devices d INDEXED BY devices_in_seen`
		if s.Sort == store.BySince {
			index = `devices d INDEXED BY devices_in_since`
		}
		for _, state := range s.shownStates() {
			c := &clause{[]string{`d.shown = ?`}, []any{state}}
			out = append(out, s.part(index, limit, known, c.addAll(digest)))
		}
	default:
		out = append(out, s.part(s.byID(), limit, known, s.asShown().addAll(digest)))
	}
	if s.late > 0 && s.late <= s.effort.late {
		late := &clause{[]string{`d.row IN (` + lateRows + `)`}, s.lateArgs()}
		out = append(out, s.part(byRow, limit, proven{}, late))
	}
	return out, nil
}

// byID returns the index that devices are read in the order of ids by: where only a text is looked for, the one that has
// it.
func (s *selection) byID() string {
	if s.Query != "" && s.class == nil && len(s.states) == 0 {
		return `devices d INDEXED BY devices_by_text`
	}
	return `devices d INDEXED BY devices_in_id`
}

// part returns the query for the first entries of a part of the devices.
func (s *selection) part(from string, limit int, known proven, extra *clause) query {
	key, than, down := s.key(), ` > `, ``
	if s.Desc {
		than, down = ` < `, ` DESC`
	}
	c := s.conditions(known)
	c.addAll(extra)
	order := `d.id` + down
	if key == `0` {
		if s.After != "" {
			c.add(`d.id`+than+`?`, s.After)
		}
	} else {
		order = key + down + `, ` + order
		if s.After != "" {
			c.add(`(`+key+`, d.id)`+than+`(?, ?)`, s.afterKey(), s.After)
		}
	}
	text := `SELECT d.row, ` + key + `, d.id FROM ` + from + ` WHERE ` + c.String() + ` ORDER BY ` + order + ` LIMIT ?`
	return query{text, append(c.args, limit)}
}

// asShown returns a condition on the state as shown, as far as it tells of the state: late devices are a part of their
// own.
func (s *selection) asShown() *clause {
	c := &clause{}
	if len(s.states) > 0 && s.late <= s.effort.late {
		c.add(`+d.shown IN `+places(len(s.states)), anys(s.states)...)
	}
	return c
}

// shownStates returns the states as shown that selected devices may have, but for late ones if these are a part of their
// own.
func (s *selection) shownStates() (out []result.State) {
	for _, state := range store.States {
		wanted := len(s.states) == 0 || s.late > s.effort.late || slices.Contains(s.states, state)
		if s.shown[state] > 0 && wanted {
			out = append(out, state)
		}
	}
	return out
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
	err = s.rows(text+` LIMIT ?`, append(args, maxArms+1), func(rows *sql.Rows) error {
		var class int64
		err := rows.Scan(&class)
		out = append(out, class)
		return err
	})
	if len(out) > maxArms {
		out = nil
	}
	return out, err
}

// scanCost estimates how many entries of an index are read until so many devices are found, if matches are spread evenly.
func (s *selection) scanCost(limit int) int {
	cost := s.fleet
	if per := s.bound / limit; per > 0 {
		cost = s.fleet / per
	}
	if len(s.marks) > 0 || len(s.Digest) > 0 || s.Query != "" || s.late > s.effort.late {
		cost *= 3
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
