package appraise

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// registerVerdict is what followed from comparing a PCR with a manifest.
type registerVerdict struct {
	findings  []result.Finding
	critical  int // findings that make the verdict
	uncovered bool
	unread    bool // only a log would tell how it stands
}

// Limits on the work that a log makes which fits nothing: a device chooses it. Those of a first comparison with each
// document, which only finds out which fits best, are lower.
const (
	maxStrange      = 1024 // events of a PCR that are not in the set and looked at one by one
	maxStrangeQuick = 64
	maxEventsQuick  = 4096 // events of a PCR that are looked at: with more the PCR is taken for different
)

// fitManifest is fit for a manifest.
func (j *bootJudge) fitManifest(c *reference.Compiled) fit {
	var f fit
	j.quick = true
	defer func() { j.quick = false }()
	for _, i := range j.bank.Present().Indices() {
		switch v := j.register(c, i); {
		case v.uncovered:
		case v.critical > 0:
			f.distance += pcrWeight
			f.events += v.critical
		case len(v.findings) > 0 || v.unread:
			f.distance++
		default:
			f.same++
		}
	}
	return f
}

// compareManifest tells what differs from a manifest, and what it does not cover.
func (j *bootJudge) compareManifest(c *reference.Compiled) {
	var open, unread []string
	for _, i := range j.bank.Present().Indices() {
		v := j.register(c, i)
		j.findings = append(j.findings, v.findings...)
		if v.unread {
			unread = append(unread, pcrName(i))
		}
		if !v.uncovered || isReset(i, j.bank.Value(i)) {
			continue
		}
		if len(j.events(i)) == 0 && j.verified != nil {
			j.unlogged(i)
			continue
		}
		open = append(open, pcrName(i))
	}
	if len(unread) > 0 {
		j.find("pcr-uncovered", strings.Join(unread, ", "), "a boot log: "+c.Name+" knows the events, not the values", "")
	}
	if len(open) > 0 {
		f := finding("pcr-uncovered", strings.Join(open, ", "), "", "")
		f.Severity = result.Info
		j.findings = append(j.findings, f)
	}
}

// register compares a PCR with a manifest: its value, if the manifest has values, and its events, if it has events.
func (j *bootJudge) register(c *reference.Compiled, i int) registerVerdict {
	p, alg := c.PCR(i), j.bank.Algorithm()
	if p == nil || !reference.Comparable(p, alg) {
		return registerVerdict{uncovered: true}
	}
	var v registerVerdict
	if j.failed.Has(i) {
		v.critical++ // already told: what the log says of this PCR is worthless
		return v
	}
	find := func(name, component, expected, observed string) {
		if p.Coverage == manifest.Informative {
			name = "boot-difference"
		} else {
			v.critical++
		}
		v.findings = append(v.findings, finding(name, component, expected, observed))
	}
	value, known := j.bank.Value(i), values(p, j)
	same := slices.ContainsFunc(known, func(k []byte) bool { return string(k) == string(value) })
	events := slices.ContainsFunc(p.Events, func(e manifest.Event) bool { return e.Digests.Get(alg) != nil })
	switch {
	case j.verified == nil && events && len(known) == 0:
		v.unread = p.Coverage != manifest.Informative
		return v
	case j.verified != nil && len(j.events(i)) == 0 && !isReset(i, value) && !same:
		if v.uncovered = j.policy.Unlogged.Has(i); !v.uncovered {
			find("pcr-unlogged", pcrName(i), "a boot log event for the value", hex.EncodeToString(value))
		}
	case j.verified != nil && events:
		j.set(&v, c, p, find)
	}
	if len(known) > 0 && !same && v.critical == 0 {
		v.uncovered = false
		find("pcr-mismatch", pcrName(i), hex.EncodeToString(known[0]), hex.EncodeToString(value))
	}
	return v
}

// values returns the values that a manifest allows of a PCR, in the quoted bank.
func values(p *manifest.PCR, j *bootJudge) [][]byte {
	var out [][]byte
	for _, d := range p.Values {
		if v := d.Get(j.bank.Algorithm()); v != nil {
			out = append(out, v)
		}
	}
	return out
}

// set compares the events of a PCR with those of a manifest, which are a set: what was measured must be in it, and what it
// requires must have been measured. Events of one slot are alternatives. An event is recognised by its digest and its
// type: what else is in a slot may be of the machine, such as a device path, and nothing vouches for it.
func (j *bootJudge) set(v *registerVerdict, c *reference.Compiled, p *manifest.PCR, find func(name, component, expected, observed string)) {
	alg := j.bank.Algorithm()
	seen := make(map[*manifest.Event]bool, len(p.Events))
	settled := make(map[string]bool) // slots of which something was measured
	var replaced, unknown []*eventlog.Event
	measured, strange, more := j.events(p.Index), maxStrange, 0
	if j.quick {
		strange = maxStrangeQuick
		if len(measured) > maxEventsQuick {
			more, measured = len(measured)-maxEventsQuick, measured[:maxEventsQuick]
		}
	}
	for _, e := range measured {
		matched := false
		for k := range c.Events(p.Index, e.Digest(alg)) {
			if typeOf(k.Slot) == e.Type.String() || inSlot(k.Slot, j.slot(e)) {
				seen[k], settled[k.Slot], matched = true, true, true
			}
		}
		switch {
		case matched:
		case len(replaced)+len(unknown) == strange:
			more++
		case slices.ContainsFunc(p.Events, func(k manifest.Event) bool { return inSlot(k.Slot, j.slot(e)) }):
			replaced = append(replaced, e)
		default:
			unknown = append(unknown, e)
		}
	}
	for _, e := range replaced {
		slot := j.slot(e)
		expected := expectedOf(p, slot, seen)
		settled[expected.Slot], seen[expected] = true, true
		if slot == secureBootSlot && j.secureBootTold(c) && p.Coverage != manifest.Informative {
			v.critical++ // told by secureBoot in better words
			continue
		}
		find("boot-event-changed", pcrName(p.Index)+", "+noteOf(expected, e.Describe().String()), hex.EncodeToString(expected.Digests.Get(alg)),
			hex.EncodeToString(e.Digest(alg)))
	}
	if p.Coverage == manifest.Partial {
		v.uncoveredEvents(p.Index, unknown, func(e *eventlog.Event) []byte { return e.Digest(alg) })
	} else {
		for _, e := range unknown {
			find("boot-event-unknown", pcrName(p.Index)+", "+e.Describe().String(), "", hex.EncodeToString(e.Digest(alg)))
		}
	}
	if more > 0 {
		find("boot-event-unknown", pcrName(p.Index), "", fmt.Sprintf("%d more events", more))
	}
	for k := range p.Events {
		e := &p.Events[k]
		// The events of a pattern are different things, so that each of them is required by itself.
		if e.Required && !seen[e] && (isPattern(e.Slot) || !settled[e.Slot]) {
			settled[e.Slot] = true
			find("boot-event-missing", pcrName(p.Index)+", "+noteOf(e, e.Slot), hex.EncodeToString(e.Digests.Get(alg)), "")
		}
	}
}

// slot is e.Slot, found once for all documents that e is compared with.
func (j *bootJudge) slot(e *eventlog.Event) string {
	s, ok := j.slots[e]
	if !ok {
		if j.slots == nil {
			j.slots = make(map[*eventlog.Event]string)
		}
		s = e.Slot()
		j.slots[e] = s
	}
	return s
}

// expectedOf returns the event that another one stands in the place of: one of its slot that was not measured, rather a
// required one.
func expectedOf(p *manifest.PCR, slot string, seen map[*manifest.Event]bool) *manifest.Event {
	var best *manifest.Event
	rank := func(e *manifest.Event) int {
		switch {
		case seen[e]:
			return 0
		case !e.Required:
			return 1
		}
		return 2
	}
	for k := range p.Events {
		if e := &p.Events[k]; inSlot(e.Slot, slot) && (best == nil || rank(e) > rank(best)) {
			best = e
		}
	}
	return best
}

// uncoveredEvents tells of events that a partial set does not name: one finding stands for all of a PCR.
func (v *registerVerdict) uncoveredEvents(index int, list []*eventlog.Event, digest func(*eventlog.Event) []byte) {
	if len(list) == 0 {
		return
	}
	var names []string
	for k, e := range list {
		if k == maxNames {
			names = append(names, fmt.Sprintf("%d more", len(list)-k))
			break
		}
		names = append(names, e.Describe().String())
	}
	observed := ""
	if len(list) == 1 {
		observed = hex.EncodeToString(digest(list[0]))
	}
	v.findings = append(v.findings, finding("boot-event-uncovered", pcrName(index)+", "+strings.Join(names, ", "), "", observed))
}

func noteOf(e *manifest.Event, otherwise string) string {
	if e.Note != "" {
		return e.Note
	}
	return otherwise
}

// typeOf returns the event type that a slot begins with.
func typeOf(slot string) string {
	if i := strings.IndexAny(slot, " *"); i >= 0 {
		return slot[:i]
	}
	return slot
}

func isPattern(slot string) bool { return strings.Contains(slot, "*") }

// inSlot reports whether an observed slot is the one that a manifest names. "*" in it stands for any characters, also
// none: for a part that differs between machines, such as a path. The time is linear in the slot for each "*".
func inSlot(pattern, slot string) bool {
	if !isPattern(pattern) {
		return pattern == slot
	}
	parts := strings.Split(pattern, "*")
	last := len(parts) - 1
	slot, ok := strings.CutPrefix(slot, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1:last] {
		i := strings.Index(slot, part)
		if i < 0 {
			return false
		}
		slot = slot[i+len(part):]
	}
	return strings.HasSuffix(slot, parts[last])
}
