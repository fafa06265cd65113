package sqlite

import (
	"slices"
	"strings"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// driver is a query for rows of devices that has all those that are selected, among others.
type driver struct {
	*clause        // one condition: the query
	size    int    // of its result, at most
	cost    int    // entries of indexes that it reads
	lookups int    // marks that are looked up for each
	proves  proven // of its rows

	likely int // size that is likely, of what is in the set too; not above size
}

// few reports whether all rows of a driver can be looked at, which for what is likely to be less is to be seen.
func (s *selection) few(d *driver) bool {
	return d != nil && d.cost <= s.effort.index && (d.size <= s.mostCollected() || !s.many && d.likely <= s.effort.collect)
}

// mostCollected returns how many rows are looked at at most. More are where that tells the total too, which nothing else
// does, and by label: labels go with what devices have in common, so that those that match may all be at the end.
func (s *selection) mostCollected() int {
	if s.Sort == store.ByLabel || !s.counted() {
		return s.effort.collect * 3 / 2
	}
	return s.effort.collect
}

// proven is which parts of a filter are known to hold.
type proven struct {
	class, states bool
	set           bool // as far as it goes
	digest, text  bool
	likely        bool // the text is in most
	marks         int  // so many of them, the rarest ones
}

func (p proven) and(other proven) proven {
	return proven{
		p.class || other.class, p.states || other.states, p.set || other.set,
		p.digest || other.digest, p.text || other.text, p.likely || other.likely, max(p.marks, other.marks),
	}
}

// rows returns the condition that a device is among them.
func (d *driver) rows() *clause { return &clause{[]string{`d.row IN (` + d.String() + `)`}, d.args} }

// addDrivers adds the set, and the one by class and state, or by what the state is now. All read indexes only.
func (s *selection) addDrivers() {
	if s.set != nil {
		d := listed(s.set.rows, s.set.proves)
		d.lookups = len(s.marks) - s.set.proves.marks
		s.drivers = append(s.drivers, *d)
	}
	if s.late > s.effort.late {
		s.addCurrent()
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
		switch {
		case s.inClass != nil:
			classes, args, read = classes+withMark, append(args, s.rarest()), s.inClass
		case len(s.marks) > 0:
			return // devices with the mark in these classes are soon met
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
	d := driver{clause: &clause{[]string{text}, args}, size: s.mayShow(s.shown), cost: s.mayShow(read), proves: proves}
	d.likely = d.size
	d.lookups = len(s.marks)
	if s.set != nil {
		d.lookups -= s.set.proves.marks
		d.proves = d.proves.and(s.set.proves)
		if d.likely = min(d.size, len(s.set.rows)); !s.counted() && !s.set.proves.class && s.fleet > 0 {
			d.likely = int(float64(d.size) * float64(len(s.set.rows)) / float64(s.fleet)) // if one says nothing of the other
		}
		d.size = min(d.size, len(s.set.rows))
	}
	s.drivers = append(s.drivers, d)
}

// addCurrent adds the driver of the devices that are in the states now, where that is not as shown for many.
func (s *selection) addCurrent() {
	var text []string
	d := driver{clause: &clause{}, size: s.are(), cost: s.are(), lookups: len(s.marks), proves: proven{states: true}}
	d.likely = d.size
	add := func(state result.State, condition string, args ...any) {
		text = append(text, `SELECT d.row FROM devices d INDEXED BY devices_by_state WHERE d.tenant = ? AND d.state = ?`+condition)
		d.args = append(append(d.args, s.Tenant, state), args...)
	}
	for _, state := range s.states {
		switch state {
		case result.Stale:
			for _, was := range store.States {
				if was != result.Stale && was != result.NeverAttested {
					add(was, ` AND d.stale_at > 0 AND d.stale_at <= ?`, s.now)
				}
			}
		case result.NeverAttested:
			add(state, ``)
		default:
			add(state, ` AND d.stale_at > ?`, s.now)
			add(state, ` AND d.stale_at = 0`)
		}
	}
	d.conditions = []string{strings.Join(text, ` UNION ALL `)}
	s.drivers = append(s.drivers, d)
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
			return s.addFound(s.effort.found, proven{class: true, text: true, likely: true}, `SELECT d.row FROM devices d INDEXED BY devices_of_class
				WHERE d.class IN (SELECT c.row FROM classes c WHERE `+s.class.String()+`) AND instr(d.search, ?)`,
				append(slices.Clone(s.class.args), text)...)
		}
	}
	const search = `SELECT rowid FROM devices_text WHERE devices_text MATCH ?`
	if all := trigrams(text); len(all) > 0 {
		// Few trigrams are found sooner than many, and people type what tells most last.
		last, most := all[max(len(all)-2, 0):], s.effort.found/4
		if len(last) < len(all) {
			found, err := s.lookUp(search, []any{allOf(last)}, most)
			s.spend(2 * len(found))
			if err != nil || len(found) < most {
				return s.found(found, proven{likely: true}, err)
			}
		}
		s.spend(s.effort.found)
		return s.addFound(s.effort.found, proven{likely: true}, search, allOf(all))
	}
	if !validPart(text) || hexadecimal(text) {
		return nil // ids are hexadecimal: many have it
	}
	// A part of fewer than three characters begins a trigram of each text that it is in: the text goes on with the id.
	return s.addFound(s.effort.found, proven{likely: true}, `SELECT doc FROM devices_parts WHERE term >= ? AND term < ?`, text, text+"\U0010ffff")
}

func validPart(text string) bool {
	return strings.ToValidUTF8(text, "") == text && !strings.ContainsRune(text, 0)
}

func hexadecimal(text string) bool {
	return strings.Trim(text, "0123456789abcdef") == ""
}

// findDigest looks up which devices have the digest now, unless they are many: in a content, or in the base of one that
// does not lack it.
func (s *selection) findDigest() error {
	if len(s.Digest) == 0 {
		return nil
	}
	return s.addFound(s.effort.index/2, proven{digest: true}, digestHolders, s.Digest, s.Digest, s.Digest)
}

// digestHolders are devices that have a digest, which is given thrice; some come twice.
const digestHolders = `SELECT s.device FROM (
		SELECT indexed FROM indexed_digests WHERE digest = ? AND lacks = 0
		UNION ALL
		SELECT i.row FROM indexed_digests d CROSS JOIN indexed i ON i.base = d.indexed WHERE d.digest = ? AND d.lacks = 0
			AND NOT EXISTS (SELECT 1 FROM indexed_digests x WHERE x.digest = ? AND x.indexed = i.row)
	) h CROSS JOIN seen s INDEXED BY seen_holders ON s.indexed = h.indexed WHERE s.until = 0`

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
	if s.set != nil && !known.set {
		c.addAll(s.set.has())
		known = known.and(s.set.proves)
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

// driveFew returns the driver that has so few rows that they can be collected, if there is one.
func (s *selection) driveFew(limit int) (*driver, error) {
	d := s.drive(limit, true)
	if s.many || !s.few(d) {
		return nil, nil
	}
	most := s.mostCollected()
	if d.size <= most {
		return d, nil
	}
	found, err := s.lookUp(d.String(), d.args, most+1)
	s.spend(s.price(d))
	if s.many = len(found) > most; s.many || err != nil {
		return nil, err
	}
	return listed(found, d.proves), nil
}

// drive returns the rows among which the selected devices are to be looked for, nil if that takes longer than to look
// for so many in the order of an index; below 0: for all. Where few rows tell the total too, which nothing else does, that
// is never too long.
func (s *selection) drive(limit int, total bool) *driver {
	if len(s.shownStates()) == 0 || s.sortsClasses() {
		return nil // there are late devices at most, or an index has all that is asked for
	}
	var best *driver
	for i := range s.drivers {
		d := &s.drivers[i]
		if better := s.few(d) && !s.few(best); best == nil || better || s.few(d) == s.few(best) && s.price(d) < s.price(best) {
			best = d
		}
	}
	if best == nil || limit < 0 || s.price(best) <= s.scanCost(limit) {
		return best
	}
	if s.few(best) && s.price(best) <= s.purse() && (s.Sort == store.ByLabel || total && !s.counted()) {
		return best
	}
	return nil
}

// lookupCost is what it takes to look up a mark of a device, in entries of an index.
const lookupCost = 6

// price estimates what it takes to read all rows of a driver, in entries of an index.
func (s *selection) price(d *driver) int {
	rows := d.likely
	if s.many {
		rows = d.size
	}
	return d.cost*(1+lookupCost*d.lookups) + rows*rowCost
}

// counted reports whether bound is how many devices it selects, but for those whose state is not as shown.
func (s *selection) counted() bool {
	return len(s.marks) <= 1 && s.Query == "" && len(s.Digest) == 0
}
