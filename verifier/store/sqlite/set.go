package sqlite

import (
	"encoding/json"
	"slices"
)

// rowSet is the devices that marks, text and digest allow, as far as these were looked up.
type rowSet struct {
	rows   []int64 // ascending
	proves proven
	bits   []byte // bits[i] is 1 if rows has rows[0] + i; nil: rows are too far apart
}

// maxSpan is the most bytes of rowSet.bits.
const maxSpan = 16 << 20

// has returns the condition that a device is in the set. That is much faster than IN, for which SQLite makes a table.
func (s *rowSet) has() *clause {
	if len(s.rows) == 0 {
		return &clause{[]string{`FALSE`}, nil}
	}
	if span := s.rows[len(s.rows)-1] - s.rows[0] + 1; s.bits == nil && span <= maxSpan {
		s.bits = make([]byte, span)
		for _, row := range s.rows {
			s.bits[row-s.rows[0]] = 1
		}
	}
	if s.bits == nil {
		d := listed(s.rows, s.proves)
		return &clause{[]string{`+` + d.rows().String()}, d.args}
	}
	return &clause{[]string{`+d.row >= ?`, `substr(?, d.row - ?, 1) = x'01'`}, []any{s.rows[0], s.bits, s.rows[0] - 1}}
}

// lookUp returns the rows of a query, at most so many.
func (s *selection) lookUp(query string, args []any, most int) (found []int64, err error) {
	err = s.rows(query+` LIMIT ?`, append(slices.Clone(args), most), appendTo(&found, scanOne))
	return found, err
}

// findMarked looks up which devices have the marks, rarest first, as far as these are not many. If nothing else is asked
// for, those of a mark that many have are soon met without.
func (s *selection) findMarked() error {
	left := s.effort.index
	if len(s.marks) > 1 || s.class != nil || len(statesOf(s.Filter)) > 0 || s.Query != "" || len(s.Digest) > 0 {
		left *= 2
	}
	for i, m := range s.marks {
		from, args := `SELECT m.device FROM device_marks m WHERE m.mark = ?`, []any{m.row}
		switch most := s.effort.index / 2; {
		case s.set != nil && len(s.set.rows) <= min(most, m.n): // each is looked up
			from = `SELECT m.device FROM json_each(?) j CROSS JOIN device_marks m ON m.device = j.value AND m.mark = ?`
			args = append(listed(s.set.rows, s.set.proves).args, args...)
			s.spend(len(s.set.rows))
		case m.n < left:
			left -= m.n
		default:
			return nil
		}
		if err := s.addFound(m.n+1, proven{marks: i + 1}, from, args...); err != nil || s.none {
			return err
		}
	}
	return nil
}

// addFound keeps in the set what a query finds, unless that is as many as most.
func (s *selection) addFound(most int, proves proven, query string, args ...any) error {
	found, err := s.lookUp(query, args, most)
	s.spend(len(found))
	if len(found) >= most {
		return err
	}
	return s.found(found, proves, err)
}

// found keeps rows in the set, and no others.
func (s *selection) found(rows []int64, proves proven, err error) error {
	if err != nil {
		return err
	}
	slices.Sort(rows)
	rows = slices.Compact(rows)
	if proves.set = true; s.set != nil {
		rows, proves = common(s.set.rows, rows), proves.and(s.set.proves)
	}
	s.set = &rowSet{rows: rows, proves: proves}
	s.none = len(s.set.rows) == 0
	return nil
}

// common returns what two ascending lists share.
func common(a, b []int64) (out []int64) {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			a = a[1:]
		case a[0] > b[0]:
			b = b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return out
}

// listed returns a driver of known rows.
func listed(rows []int64, proves proven) *driver {
	list, _ := json.Marshal(rows) // numbers can be encoded
	return &driver{
		clause: &clause{[]string{`SELECT value FROM json_each(?)`}, []any{string(list)}},
		size:   len(rows), likely: len(rows), cost: len(rows), proves: proves,
	}
}

// spend counts effort of a walk that is spent before, in entries of an index.
func (s *selection) spend(entries int) { *s.spent += entries }
