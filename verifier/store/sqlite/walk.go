package sqlite

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// maxArms is the most classes of which each is read in the order of labels.
const maxArms = 64

// walk reads a page in the order of indexes. Where that takes more than effort allows, it ends before the page is full:
// all up to a place in the order was looked at then.
type walk struct {
	*selection
	limit int
	page  []entry // those that were found, in order, at most limit
}

// list reads a page in the order of indexes. If it was stopped before the page was full, stopped is the place up to which
// it looked.
func (s *selection) list(limit int) (out []store.Device, stopped *entry, err error) {
	if s.none {
		return nil, nil, nil
	}
	w := &walk{selection: s, limit: limit}
	parts, err := s.parts(limit)
	if err == nil {
		stopped, err = w.read(parts)
	}
	if err != nil {
		return nil, nil, err
	}
	out, err = s.fetch(w.page)
	return out, stopped, err
}

// read fills the page: first a stretch of the order in which there is a page if matches are spread evenly. Where they are
// not, all rows of a driver are next if these are few enough, otherwise the rest of the order.
func (w *walk) read(parts []part) (stopped *entry, err error) {
	parts, err = w.unordered(parts)
	if err != nil || len(parts) == 0 {
		return nil, err
	}
	first := min(max(w.effort.first, 2*w.passed(w.met(w.limit))), w.entriesFor(w.purse()))
	until, err := w.onward(parts, w.start(), first)
	if until == nil || err != nil {
		return nil, err
	}
	if !w.overtime() {
		if d := w.drive(-1, false); d != nil && w.price(d) <= w.purse() {
			w.page = nil
			return nil, w.add(driven(d), w.start(), nil)
		}
		if !w.bounded {
			_, err = w.stretch(parts, until, math.MaxInt)
			return nil, err
		}
		if left := w.effort.walk - *w.spent; left > w.effort.stretch/2 {
			until, err = w.onward(parts, until, w.entriesFor(left))
			if until == nil || err != nil {
				return nil, err
			}
		}
	}
	w.page = slices.DeleteFunc(w.page, func(e entry) bool { return w.before(until, &e) })
	return until, nil
}

// onward reads about so many entries of the parts' indexes after a place in the order, and tells until where, as stretch
// does. It looks at the clock meanwhile.
func (w *walk) onward(parts []part, from *entry, entries int) (until *entry, err error) {
	for until = from; ; {
		n := entries
		if w.bounded {
			n = min(n, w.entriesFor(w.effort.stretch))
		}
		until, err = w.stretch(parts, until, n)
		w.spend(w.costOf(min(n, w.fleet)))
		if entries -= n; entries <= 0 || until == nil || err != nil || w.overtime() {
			return until, err
		}
	}
}

// overtime reports whether a page took its time, so that it had better end where it is.
func (w *walk) overtime() bool { return w.bounded && time.Since(w.began) > w.effort.time }

// purse returns the effort that is left, always some of it; without bound it is that of reading all.
func (s *selection) purse() int {
	if !s.bounded {
		return max(s.effort.walk, s.costOf(s.fleet))
	}
	return max(s.effort.walk-*s.spent, s.effort.walk/8)
}

// unordered reads the parts that are in no order, and returns the others.
func (w *walk) unordered(parts []part) (others []part, err error) {
	for _, p := range parts {
		if p.prefix != nil {
			others = append(others, p)
		} else if err := w.add(p, w.start(), nil); err != nil {
			return nil, err
		}
	}
	return others, nil
}

// stretch reads parts from a place in the order on, about so many entries of their indexes. until is how far it came, nil
// if the page is as it should be.
func (w *walk) stretch(parts []part, from *entry, entries int) (until *entry, err error) {
	if entries < math.MaxInt {
		if until, err = w.horizon(parts, from, entries); err != nil {
			return nil, err
		}
	}
	for _, p := range parts {
		if err := w.add(p, from, until); err != nil {
			return nil, err
		}
	}
	if len(w.page) == w.limit && !w.before(until, &w.page[w.limit-1]) {
		return nil, nil
	}
	return until, nil
}

// add reads a part between two places in the order; nil: from the beginning, to the end.
func (w *walk) add(p part, from, until *entry) error {
	if len(w.page) == w.limit && !w.before(until, &w.page[w.limit-1]) {
		until = &w.page[w.limit-1]
	}
	some, err := w.entries(w.query(p, w.limit, from, until))
	if err == nil {
		w.page = w.cut(append(w.page, some...), w.limit)
	}
	return err
}

// before reports whether a comes before b in the order; nil is the end of it.
func (s *selection) before(a, b *entry) bool {
	if a == nil {
		return false
	}
	if s.Desc {
		a, b = b, a
	}
	return a.compare(b) < 0
}

// start returns the place after which the page begins, nil: it is the first.
func (s *selection) start() *entry {
	if s.After == "" {
		return nil
	}
	return &entry{key: s.afterKey(), id: s.After}
}

// horizon returns the place in the order up to which parts have about so many entries after from together, nil: they have
// no more. None has more than the largest would have if matches were spread evenly.
func (s *selection) horizon(parts []part, from *entry, entries int) (*entry, error) {
	var nearest *entry
	largest := slices.MaxFunc(parts, func(a, b part) int { return cmp.Compare(a.share, b.share) }).share
	for _, p := range parts {
		found, err := s.entries(s.between(p, p.prefix, from, nearest, 1, max(int(float64(entries)*largest), 1)-1))
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			nearest = &found[0]
		}
	}
	return nearest, nil
}

// listByState lists the states one after the other.
func (s *selection) listByState(limit int) (out []store.Device, stopped *entry, err error) {
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
		page, stopped, err := one.list(limit - len(out))
		if err != nil {
			return nil, nil, err
		}
		out = append(out, page...)
		if stopped != nil {
			return out, &entry{key: string(state), id: stopped.id}, nil
		}
		if len(out) == limit {
			break
		}
	}
	return out, nil, nil
}

// part is some of the devices: in the order of an index, unless it is byRow.
type part struct {
	from   string
	prefix *clause // what the index has together in its order; nil: no order
	share  float64 // of the devices that are met in the order
	extra  *clause
	known  proven
}

// silence ranks the states of devices of which nothing was heard for long, or ever.
var silence = map[result.State]int{result.NeverAttested: 2, result.Stale: 1}

// driven is the rows of a driver.
func driven(d *driver) part { return part{from: byRow, extra: d.rows(), known: d.proves} }

// parts returns the parts that together have the entries of a page, each once. Matches are spread evenly within a part, as
// far as that is known: by state as shown, or by class.
func (s *selection) parts(limit int) ([]part, error) {
	if d := s.drive(limit, false); d != nil && (!s.bounded || s.price(d) <= s.purse()) {
		s.spend(s.price(d))
		return []part{driven(d)}, nil
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
	add := func(index string, prefix *clause, share float64, c *clause, known proven) {
		out = append(out, part{`devices d INDEXED BY ` + index, prefix, share, c.addAll(beside()), known})
	}
	tenant := &clause{[]string{`d.tenant = ?`}, []any{s.Tenant}}
	shown := s.shownStates()
	inParts := func(index string) {
		for _, state := range shown {
			prefix := &clause{[]string{`d.tenant = ?`, `d.shown = ?`}, []any{s.Tenant, state}}
			add(index, prefix, float64(s.all[state])/float64(s.within()), &clause{}, known)
		}
	}
	switch s.Sort {
	case store.ByLabel:
		of := known
		of.class = true
		if s.sortsClasses() {
			c := s.asShown()
			c.add(`d.class IN (SELECT c.row FROM classes c WHERE `+s.class.String()+`)`, s.class.args...)
			add(`devices_of_class_in_label`, nil, 1, c, of)
			break
		}
		classes, err := s.fewClasses()
		if err != nil {
			return nil, err
		}
		for _, class := range classes {
			add(`devices_of_class_in_label`, &clause{[]string{`d.class = ?`}, []any{class}}, 1/float64(len(classes)), s.asShown(), of)
		}
		if len(classes) == 0 && len(shown) > 0 {
			add(`devices_in_label`, tenant, 1, s.asShown(), known)
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
			add(s.byID(), tenant, 1, &clause{}, known)
		}
	}
	return append(out, s.lateParts()...), nil
}

// lateParts returns a part of the devices whose state is not as shown, none if there are none or too many.
func (s *selection) lateParts() []part {
	if s.late == 0 || s.late > s.effort.late {
		return nil
	}
	return []part{{from: byRow, extra: &clause{[]string{`d.row IN (` + lateRows + `)`}, s.lateArgs()}}}
}

// conditions returns what the devices of a part must be.
func (p *part) conditions(s *selection) *clause {
	if p.prefix == nil {
		return s.conditions(p.known).addAll(p.extra)
	}
	c := (&clause{}).addAll(p.prefix)
	if !p.known.states {
		c.addStates(s.states, s.now)
	}
	return c.addAll(s.beside(p.known)).addAll(p.extra)
}

// byID returns the index that devices are read in the order of ids by: where only a text is looked for, the one that has
// it.
func (s *selection) byID() string {
	if s.Query != "" && s.class == nil && len(s.states) == 0 {
		return `devices_by_text`
	}
	return `devices_in_id`
}

// query returns the query for the first entries of a part after from, up to and with until; nil: all.
func (s *selection) query(p part, limit int, from, until *entry) query {
	return s.between(p, p.conditions(s), from, until, limit, 0)
}

// between returns the query for so many entries of a part between two places in the order, without the first ones.
func (s *selection) between(p part, c *clause, from, until *entry, limit, without int) query {
	key, after, to, down := s.key(), ` > `, ` <= `, ``
	if s.Desc {
		after, to, down = ` < `, ` >= `, ` DESC`
	}
	order, place, values := `d.id`+down, `d.id`, `?`
	of := func(e *entry) []any { return []any{e.id} }
	if key != `0` {
		order, place, values = key+down+`, `+order, `(`+key+`, d.id)`, `(?, ?)`
		of = func(e *entry) []any { return []any{e.key, e.id} }
	}
	bounds := &clause{}
	if from != nil {
		bounds.add(place+after+values, of(from)...)
	}
	if until != nil {
		bounds.add(place+to+values, of(until)...)
	}
	text := `SELECT d.row, ` + key + `, d.id FROM ` + p.from + ` WHERE ` + c.String() + ` AND ` + bounds.String() +
		` ORDER BY ` + order + ` LIMIT ? OFFSET ?`
	return query{text, append(append(slices.Clone(c.args), bounds.args...), limit, without)}
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

// met estimates how many devices in shownStates are met in the order of an index until so many are selected, if these are
// spread evenly.
func (s *selection) met(limit int) int {
	met := s.within()
	if per := s.bound / limit; per > 0 {
		met /= per
	}
	return met
}

// passed estimates how many entries of the index have met devices: labels are in one index for all states.
func (s *selection) passed(met int) int {
	if s.Sort == store.ByLabel && met > 0 {
		return int(float64(met) * float64(s.fleet) / float64(s.within()))
	}
	return met
}

// scanCost estimates what it takes to meet so many selected devices in the order of an index, in entries of it.
func (s *selection) scanCost(limit int) int {
	met := s.met(limit)
	return s.passed(met) + met*s.lookups()
}

// costOf is what it takes to read so many entries of an order's index, with what is looked up for the devices that are in
// shownStates: in the order of labels only these are looked at further.
func (s *selection) costOf(entries int) int {
	met := entries
	if s.Sort == store.ByLabel {
		met = int(float64(entries) * float64(s.within()) / float64(max(s.fleet, 1)))
	}
	return entries + met*s.lookups()
}

// entriesFor returns how many entries have that cost, one at least.
func (s *selection) entriesFor(cost int) int {
	const many = 1000
	return max(cost*many/s.costOf(many), 1)
}

// lookups is what it takes to see whether a device that is met in the order of an index is selected, beyond reading its
// entry.
func (s *selection) lookups() (cost int) {
	if s.class != nil {
		cost++
	}
	if s.set != nil { // the rest is looked up for those that are in it, which may come together
		if s.Query != "" && !s.set.proves.likely || len(s.Digest) > 0 && !s.set.proves.digest || s.set.proves.marks < len(s.marks) {
			cost += 2
		}
		return cost
	}
	cost += lookupCost * len(s.marks)
	if len(s.Digest) > 0 {
		cost += 2 * lookupCost
	}
	switch inIndex := s.byID() == `devices_by_text` && cmp.Or(s.Sort, store.ByID) == store.ByID; {
	case s.late > s.effort.late || s.Query != "" && !inIndex:
		cost += rowCost
	case s.Query != "":
		cost++
	}
	return cost
}
