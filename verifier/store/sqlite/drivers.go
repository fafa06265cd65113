package sqlite

import (
	"database/sql"
	"encoding/json"
	"slices"
	"strings"

	"github.com/probity-attest/probity/verifier/store"
)

// driver is a query for rows of devices that has all those that are selected, among others.
type driver struct {
	*clause        // one condition: the query
	size    int    // of its result, at most
	cost    int    // entries of indexes that it reads
	lookups int    // marks that are looked up for each
	proves  proven // of its rows

	together bool // it is what several have in common, which is likely to be less than size
}

// few reports whether all rows of a driver can be looked at. Labels go with what devices have in common, so that those
// that match may all be at the end of that order: more are collected before it is read.
func (s *selection) few(d *driver) bool {
	most := s.effort.collect
	if s.Sort == store.ByLabel {
		most *= 2
	}
	return d != nil && (d.together || d.size <= most)
}

// proven is which parts of a filter are known to hold.
type proven struct {
	class, text, digest bool
	states              bool
	marks               int // so many of them, the rarest ones
}

// rows returns the condition that a device is among them.
func (d *driver) rows() *clause { return &clause{[]string{`d.row IN (` + d.String() + `)`}, d.args} }

// addDrivers adds the one by mark, and the one by class and state. Both read indexes only.
func (s *selection) addDrivers() {
	if len(s.marks) > 0 {
		m := s.marks[0]
		s.drivers = append(s.drivers, driver{
			clause: &clause{[]string{`SELECT m.device FROM device_marks m WHERE m.mark = ?`}, []any{m.row}},
			size:   m.n, cost: m.n, proves: proven{marks: 1},
		})
	}
	useStates := len(s.states) > 0 && s.late <= s.effort.late
	if s.class == nil && !useStates || s.usual() {
		return
	}
	from, c, read := `devices d INDEXED BY devices_in_since`, &clause{}, s.all
	proves := proven{class: true, marks: len(s.marks), text: s.class != nil}
	if s.class == nil {
		c.add(`d.tenant = ?`, s.Tenant)
	} else {
		from, read = `devices d INDEXED BY devices_of_class`, s.shown
		classes, args := `SELECT c.row FROM classes c WHERE `+s.class.String(), slices.Clone(s.class.args)
		if len(s.marks) > 0 {
			classes, args, read = classes+withMark, append(args, s.rarest()), s.inClass
		}
		c.add(`d.class IN (`+classes+`)`, args...)
	}
	if useStates {
		c.add(`d.shown IN `+places(len(s.states)), anys(s.states)...)
	}
	c.addAll(s.beside(proven{class: true, text: s.class == nil, digest: true}))
	text, args := `SELECT d.row FROM `+from+` WHERE `+c.String(), c.args
	if useStates && s.late > 0 {
		late := s.beside(proven{digest: true, text: s.class == nil})
		late.add(`d.row IN (`+lateRows+`)`, s.lateArgs()...)
		text, args = text+` UNION ALL SELECT d.row FROM `+byRow+` WHERE `+late.String(), append(args, late.args...)
	}
	s.drivers = append(s.drivers, driver{
		clause: &clause{[]string{text}, args}, size: s.mayShow(s.shown), cost: s.mayShow(read), lookups: len(s.marks), proves: proves,
	})
}

// usual reports whether the classes are those of a level or a status that many of the devices in these states have: they
// are nearly all classes, and devices in any order are soon found to be in one.
func (s *selection) usual() bool {
	kind, _ := s.onlyFew()
	return kind != "" && s.mayShow(s.shown) > s.mayShow(s.all)/10
}

// findText looks up which devices may have the text of the query.
func (s *selection) findText() error {
	text := strings.ToLower(s.Query)
	if text == "" {
		return nil
	}
	if s.class != nil && len(s.marks) == 0 {
		counted := 0
		for _, k := range s.shown {
			counted += k
		}
		if counted <= s.effort.index {
			return s.addFound(proven{class: true, text: true}, `SELECT d.row FROM devices d INDEXED BY devices_of_class
				WHERE d.class IN (SELECT c.row FROM classes c WHERE `+s.class.String()+`) AND instr(d.search, ?)`,
				append(slices.Clone(s.class.args), text)...)
		}
	}
	if match := trigrams(text); match != "" {
		return s.addFound(proven{}, `SELECT rowid FROM devices_text WHERE devices_text MATCH ?`, match)
	}
	if !validPart(text) || hexadecimal(text) {
		return nil // ids are hexadecimal: many have it
	}
	// A part of fewer than three characters begins a trigram of each text that it is in: the text goes on with the id.
	return s.addFound(proven{}, `SELECT doc FROM devices_parts WHERE term >= ? AND term < ?`, text, text+"\U0010ffff")
}

func validPart(text string) bool {
	return strings.ToValidUTF8(text, "") == text && !strings.ContainsRune(text, 0)
}

func hexadecimal(text string) bool {
	return strings.Trim(text, "0123456789abcdef") == ""
}

// findDigest counts the devices that have the digest now: in a content, or in the base of one that does not lack it.
func (s *selection) findDigest() error {
	if len(s.Digest) == 0 {
		return nil
	}
	d := driver{
		clause: &clause{[]string{digestHolders}, []any{s.Digest, s.Digest, s.Digest}}, proves: proven{digest: true},
	}
	most := s.effort.index / 2
	err := s.row(`SELECT count(*) FROM (`+digestHolders+` LIMIT ?)`, append(slices.Clone(d.args), most), &d.size)
	if err == nil && d.size < most {
		d.cost, s.none = d.size, d.size == 0
		s.found = append(s.found, d)
	}
	return err
}

// digestHolders are devices that have a digest, which is given thrice; some come twice.
const digestHolders = `SELECT s.device FROM (
		SELECT indexed FROM indexed_digests WHERE digest = ? AND lacks = 0
		UNION ALL
		SELECT i.row FROM indexed_digests d CROSS JOIN indexed i ON i.base = d.indexed WHERE d.digest = ? AND d.lacks = 0
			AND NOT EXISTS (SELECT 1 FROM indexed_digests x WHERE x.digest = ? AND x.indexed = i.row)
	) h CROSS JOIN seen s INDEXED BY seen_holders ON s.indexed = h.indexed WHERE s.until = 0`

// addFound adds the rows of a query as a driver, unless they are many. The query is not run again: full-text search takes
// its time.
func (s *selection) addFound(proves proven, query string, args ...any) error {
	var found []int64
	err := s.rows(query+` LIMIT ?`, append(args, s.effort.found), func(rows *sql.Rows) error {
		var row int64
		err := rows.Scan(&row)
		found = append(found, row)
		return err
	})
	if err != nil || len(found) >= s.effort.found {
		return err
	}
	slices.Sort(found)
	found = slices.Compact(found)
	list, err := json.Marshal(found)
	s.found = append(s.found, driver{
		clause: &clause{[]string{`SELECT value FROM json_each(?)`}, []any{string(list)}},
		size:   len(found), cost: len(found), proves: proves,
	})
	s.none = len(found) == 0
	return err
}

// hasDigest is whether a device has a digest now, which is given twice.
const hasDigest = `EXISTS (SELECT 1 FROM seen s INDEXED BY seen_held CROSS JOIN indexed i ON i.row = s.indexed
	WHERE s.device = d.row AND s.until = 0
	AND coalesce((SELECT 1 - x.lacks FROM indexed_digests x WHERE x.digest = ? AND x.indexed = i.row),
		(SELECT 1 - x.lacks FROM indexed_digests x WHERE x.digest = ? AND x.indexed = i.base), 0)) = 1`

// beside returns what a device must be beside its tenant and state, but for what is known. EXISTS is compared, so that
// it is not made a join.
func (s *selection) beside(known proven) *clause {
	c := &clause{}
	if s.class != nil && !known.class {
		c.add(`EXISTS (SELECT 1 FROM classes c WHERE c.row = d.class AND `+s.class.String()+`) = 1`, s.class.args...)
	}
	for _, m := range s.marks[min(known.marks, len(s.marks)):] {
		c.add(`EXISTS (SELECT 1 FROM device_marks m WHERE m.device = d.row AND m.mark = ?) = 1`, m.row)
	}
	if len(s.Digest) > 0 && !known.digest {
		c.add(hasDigest, s.Digest, s.Digest)
	}
	if s.Query != "" && !known.text {
		c.add(`instr(d.search, ?)`, strings.ToLower(s.Query))
	}
	return c
}

// conditions returns what a device must be, but for what is known and for After.
func (s *selection) conditions(known proven) *clause {
	c := &clause{}
	if s.class == nil || !known.class { // a class is of one tenant
		c.add(`d.tenant = ?`, s.Tenant)
	}
	if !known.states {
		c.addStates(s.states, s.now)
	}
	c.addAll(s.beside(known))
	return c
}

// drive returns the rows among which the selected devices are to be looked for, nil if that takes longer than to look
// for so many in the order of an index; below 0: for all. Of several drivers it is what they have in common. Where few
// rows tell the total too, which nothing else does, that is never too long.
func (s *selection) drive(limit int, total bool) *driver {
	if len(s.shownStates()) == 0 || s.sortsClasses() {
		return nil // there are late devices at most, or an index has all that is asked for
	}
	var few, readable []driver
	var best *driver
	price := func(d *driver) int { return d.cost*(1+2*d.lookups) + min(d.size, s.bound)*rowCost }
	common, cost := float64(s.fleet), 0 // if one driver says nothing of another
	for i := range s.drivers {
		d := &s.drivers[i]
		if d.cost <= s.effort.index {
			readable = append(readable, *d)
			common, cost = common*float64(d.size)/float64(max(s.fleet, 1)), cost+d.cost
			if s.few(d) {
				few = append(few, *d)
			}
		}
		if best == nil || price(d) < price(best) {
			best = d
		}
	}
	if s.counted() {
		common = float64(s.bound)
	}
	switch {
	case len(few) > 0:
		best = intersect(few)
	case len(readable) > 1 && cost <= s.effort.index && common <= float64(s.effort.collect):
		best = intersect(readable)
	}
	if best == nil || limit >= 0 && price(best) > s.scanCost(limit) &&
		!(s.few(best) && (s.Sort == store.ByLabel || total && !s.counted())) {
		return nil
	}
	return best
}

// counted reports whether bound is how many devices it selects, but for those whose state is not as shown.
func (s *selection) counted() bool {
	return len(s.marks) <= 1 && len(s.found) == 0 && s.Query == "" && len(s.Digest) == 0
}

// intersect returns what drivers have in common.
func intersect(drivers []driver) *driver {
	out := drivers[0]
	for _, d := range drivers[1:] {
		text := `SELECT * FROM (` + out.String() + `) INTERSECT SELECT * FROM (` + d.String() + `)`
		out = driver{
			clause: &clause{[]string{text}, append(slices.Clone(out.args), d.args...)},
			size:   min(out.size, d.size), cost: out.cost + d.cost, lookups: max(out.lookups, d.lookups), proves: proven{
				class: out.proves.class || d.proves.class, text: out.proves.text || d.proves.text,
				digest: out.proves.digest || d.proves.digest, marks: max(out.proves.marks, d.proves.marks),
			},
			together: true,
		}
	}
	return &out
}
