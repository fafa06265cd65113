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
const rowCost = 8

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

// sortKey returns the key as Filter.AfterKey has it.
func (e *entry) sortKey() string {
	switch key := e.key.(type) {
	case int64:
		return strconv.FormatInt(key, 10)
	case string:
		return key
	}
	return ""
}

// List returns a page of devices with their number. There are two ways. Where few devices may match, these are collected,
// counted and sorted. Where many do, they are met soon in the order of an index, and their number is the sum of what is
// counted already, or counted apart.
func (s *Store) List(ctx context.Context, f store.Filter, upTo int) (out store.List, err error) {
	err = s.list(ctx, f, upTo > 0, &out, func(sel *selection) error {
		out.Total, out.More, err = sel.count(upTo)
		if out.More {
			out.Total = max(out.Total, len(out.Devices))
		}
		return err
	})
	if upTo > 0 && out.Total > upTo {
		out.Total, out.More = upTo, true
	}
	return out, err
}

// list reads a page; count is called where that does not tell how many devices there are. What is bounded stops where it
// takes too much.
func (s *Store) list(ctx context.Context, f store.Filter, bounded bool, out *store.List, count func(*selection) error) error {
	if f.Tenant == "" {
		return fmt.Errorf("list devices: %w filter: want a tenant", store.ErrInvalid)
	}
	limit := store.PageSize(f.Limit)
	return s.snapshot(ctx, "list devices", func(r *reader) error {
		all, err := r.selection(f, bounded)
		if err != nil {
			return err
		}
		sel := all.in(statesOf(f))
		if sel.none {
			return nil
		}
		d, err := sel.driveFew(limit)
		if err != nil {
			return err
		}
		if d != nil {
			found, err := sel.collect(d)
			if err != nil {
				return err
			}
			out.Total = len(found)
			out.Devices, err = r.fetch(sel.cut(found, limit))
			return err
		}
		var stopped *entry
		if f.Sort == store.ByState {
			out.Devices, stopped, err = all.listByState(limit)
		} else {
			out.Devices, stopped, err = sel.list(limit)
		}
		if err != nil {
			return err
		}
		if stopped == nil && len(out.Devices) < limit && f.After == "" {
			out.Total = len(out.Devices)
			return nil
		}
		if stopped != nil {
			out.Stopped, out.After, out.AfterKey = true, stopped.id, stopped.sortKey()
			if !sel.counted() {
				out.More = true // counting would stop as well
				return nil
			}
		}
		return count(sel)
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
