package inspect

import (
	"encoding/hex"
	"slices"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
)

// boot is one run of Boot.
type boot struct {
	basis    Basis
	view     *reference.View
	evidence *Evidence
	bank     *pcr.Bank
	appraise.BootExplanation

	logged bool                         // there is a log that can be read
	events [pcr.Count][]*eventlog.Event // that extend; claims, where the log was not verified
}

// Boot explains a boot: PCR by PCR, each event against the reference values of the document that the boot fits best.
// The error is about a result that is stored in another form than results have.
func Boot(e *Evidence, b Basis) (v1.Boot, error) {
	r := e.Result
	out := v1.Boot{Result: e.Seq, At: r.At.UTC(), Bank: r.Bank, Log: r.BootLog, References: []string{}, PCRs: []v1.BootPCR{}}
	if r.Bank == "" {
		out.NoLog = "the device has no TPM: nothing vouches for what it booted"
		return out, nil
	}
	bank, err := quotedBank(r)
	if err != nil {
		return out, err
	}
	x := &boot{basis: b, view: b.view(r), evidence: e, bank: bank}
	selected := pcr.NewBank(bank.Algorithm())
	for _, i := range (bank.Present() & b.Policy.BootPCRs()).Indices() {
		if err := selected.Set(i, bank.Value(i)); err != nil {
			return out, err
		}
	}
	x.BootExplanation = appraise.ExplainBoot(selected, e.BootLog, e.Claims.BootLog.Unavailable, x.view, b.Policy)
	out.NoLog = x.readLog()
	if x.Document != nil {
		out.References = append(out.References, x.Document.Name)
	}
	for _, i := range bank.Present().Indices() {
		if i == ima.PCR {
			out.PCRs = append(out.PCRs, x.files())
		} else {
			out.PCRs = append(out.PCRs, x.pcr(i))
		}
	}
	return out, nil
}

// readLog sorts the events by PCR and returns why there are none.
func (x *boot) readLog() string {
	if x.evidence.BootLog == nil {
		if un := x.evidence.Claims.BootLog.Unavailable; un != nil {
			return appraise.Printable(un.Error())
		}
		return "the device did not send one"
	}
	var all []eventlog.Event
	if x.Verified != nil {
		all = x.Verified.Events()
	} else {
		log, err := eventlog.Parse(x.evidence.BootLog)
		if err != nil {
			return "it cannot be read: " + appraise.Printable(err.Error())
		}
		all = log.Events
	}
	x.logged = true
	for i := range all {
		if e := &all[i]; e.Extends() && e.PCR < pcr.Count {
			x.events[e.PCR] = append(x.events[e.PCR], e)
		}
	}
	return ""
}

// replayed reports whether the events of a PCR lead to its value.
func (x *boot) replayed(i int) bool {
	switch {
	case len(x.events[i]) == 0:
		return isReset(i, x.bank.Value(i))
	case x.Verified != nil:
		return true
	}
	// Of a log that does not fit, the PCRs that do are told; of one that breaks a rule, none is.
	return x.Failed != 0 && !x.Failed.Has(i)
}

// files is the PCR that the IMA list explains.
func (x *boot) files() v1.BootPCR {
	value := x.bank.Value(ima.PCR)
	out := x.register(ima.PCR)
	out.Standing, out.Replayed = v1.Explained, true
	if x.evidence.Result.IMAEntries == 0 && !isReset(ima.PCR, value) {
		out.Standing, out.Replayed = v1.Unknown, false
	}
	return out
}

// register returns what is to be said of every PCR.
func (x *boot) register(i int) v1.BootPCR {
	return v1.BootPCR{
		Index: i, Name: appraise.PCRContent(i), Value: hex.EncodeToString(x.bank.Value(i)), Events: []v1.BootEvent{},
	}
}

func (x *boot) pcr(i int) v1.BootPCR {
	out := x.register(i)
	out.Replayed = x.replayed(i)
	c := newComparison(x, i)
	list := make([]v1.BootEvent, 0, len(x.events[i]))
	for _, e := range x.events[i] {
		list = append(list, x.event(c, e))
	}
	if x.logged && !c.same { // without a log nobody knows what was measured, and the right value says that all of it was
		list = append(list, c.missing()...)
	}
	out.Standing = x.standing(c, list, out.Replayed)
	if len(list) > maxEvents {
		list, out.Left = list[:maxEvents], len(list)-maxEvents
	}
	out.Events = list
	return out
}

// event explains one event.
func (x *boot) event(c *comparison, e *eventlog.Event) v1.BootEvent {
	alg := x.bank.Algorithm()
	digest := e.Digest(alg)
	out := v1.BootEvent{
		Number: e.Number, Type: e.Type.String(), Digest: hex.EncodeToString(digest), Text: eventText(e),
		Proven: e.DataMatches(alg) && x.replayed(int(e.PCR)),
	}
	out.Standing, out.Expected = c.compare(e, digest)
	if out.Standing == v1.Matched {
		out.Reference = x.Document.Name
	} else {
		out.Reference = x.basis.known(digest, "")
	}
	if out.Standing == v1.Uncovered && e.Type == eventlog.Separator && x.Verified != nil {
		out.Standing = v1.Explained
	}
	if _, _, denied := x.view.Denied(manifest.DeniedEvent, digest); denied {
		out.Standing = v1.Denied
	}
	return out
}

// eventText says what an event measured.
func eventText(e *eventlog.Event) string {
	d := e.Describe()
	s := d.String()
	if d.Detail != "" {
		s += ": " + d.Detail
	}
	return clip(s, maxText)
}

// standing is the standing of a whole PCR.
func (x *boot) standing(c *comparison, events []v1.BootEvent, replayed bool) v1.Standing {
	value := x.bank.Value(c.index)
	_, _, denied := x.view.Denied(manifest.DeniedPCR, value)
	sum := v1.Explained
	for i := range events {
		sum = worst(sum, events[i].Standing)
	}
	switch {
	case denied || sum == v1.Denied:
		return v1.Denied
	case c.same:
		return v1.Matched
	case c.differs || len(events) > 0 && !replayed:
		return worst(sum, v1.Unknown)
	case len(events) > 0:
		return sum
	case isReset(c.index, value):
		return v1.Explained
	case x.Verified != nil && !x.basis.Policy.Unlogged.Has(c.index):
		return v1.Unknown
	}
	return v1.Uncovered
}

// comparison is a PCR's part of the document that a boot is compared with.
type comparison struct {
	index   int
	alg     pcr.Algorithm
	same    bool // the document has the value
	differs bool // it has another one, and no events that would say more

	base   bool // the document is a baseline
	wanted []reference.Event
	unused map[string]int // of wanted, by digest
	paired map[int]bool   // of wanted, those that another measurement stands in the place of

	document *reference.Compiled
	set      *manifest.PCR
	seen     map[*manifest.Event]bool
	settled  map[string]bool // slots of which something was measured
}

func newComparison(x *boot, i int) *comparison {
	c := &comparison{index: i, alg: x.bank.Algorithm(), document: x.Document}
	value := x.bank.Value(i)
	switch {
	case x.Document == nil:
	case x.Document.Kind == reference.KindBaseline:
		c.base, c.unused, c.paired = true, make(map[string]int), make(map[int]bool)
		r := x.Document.Register(i)
		if r == nil {
			c.differs = !isReset(i, value)
			break
		}
		c.same = string(r.Value) == string(value)
		c.differs = !c.same
		c.wanted = r.Events
		for _, e := range r.Events {
			c.unused[string(e.Digest)]++
		}
		x.pair(c)
	default:
		set := x.Document.PCR(i)
		if set == nil || !reference.Comparable(set, c.alg) {
			break
		}
		c.set, c.seen, c.settled = set, make(map[*manifest.Event]bool), make(map[string]bool)
		values := false
		for _, d := range set.Values {
			v := d.Get(c.alg)
			values, c.same = values || v != nil, c.same || v != nil && string(v) == string(value)
		}
		c.differs = values && !c.same
		x.note(c)
	}
	return c
}

// pair finds the events of a baseline that were measured as they should be.
func (x *boot) pair(c *comparison) {
	for _, e := range x.events[c.index] {
		if d := string(e.Digest(c.alg)); c.unused[d] > 0 {
			c.unused[d]--
		}
	}
	left := c.unused
	c.unused = make(map[string]int, len(left))
	for _, e := range c.wanted {
		c.unused[string(e.Digest)]++
	}
	for d, n := range left { // what is absent; compare takes the others
		c.unused[d] -= n
	}
	for k := len(c.wanted) - 1; k >= 0; k-- { // from the end: of equal digests the last is the absent one
		d := string(c.wanted[k].Digest)
		if left[d] > 0 {
			left[d]--
		} else {
			c.paired[k] = true
		}
	}
}

// note finds the events of a manifest that were measured.
func (x *boot) note(c *comparison) {
	for _, e := range x.events[c.index] {
		for k := range c.document.Events(c.index, e.Digest(c.alg)) {
			if appraise.Recognises(k, e) {
				c.seen[k], c.settled[k.Slot] = true, true
			}
		}
	}
}

// compare returns how an event stands, and the digest that the document has in its place.
func (c *comparison) compare(e *eventlog.Event, digest []byte) (v1.Standing, string) {
	switch {
	case c.base:
		return c.compareBaseline(e, digest)
	case c.set == nil:
		return v1.Uncovered, ""
	}
	for k := range c.document.Events(c.index, digest) {
		if appraise.Recognises(k, e) {
			return v1.Matched, ""
		}
	}
	if c.same {
		return v1.Matched, ""
	}
	slot := e.Slot()
	var best *manifest.Event
	for k := range c.set.Events {
		if o := &c.set.Events[k]; appraise.InSlot(o.Slot, slot) && (best == nil || c.better(o, best)) {
			best = o
		}
	}
	switch {
	case best != nil:
		c.seen[best], c.settled[best.Slot] = true, true
		return v1.Unknown, hex.EncodeToString(best.Digests.Get(c.alg))
	case c.set.Coverage == manifest.Partial:
		return v1.Uncovered, ""
	}
	return v1.Unknown, ""
}

// better reports whether another event rather stands in the place of a than of b: one that was not measured, then one
// that is required.
func (c *comparison) better(a, b *manifest.Event) bool {
	if c.seen[a] != c.seen[b] {
		return c.seen[b]
	}
	return a.Required && !b.Required
}

func (c *comparison) compareBaseline(e *eventlog.Event, digest []byte) (v1.Standing, string) {
	if c.unused[string(digest)] > 0 {
		c.unused[string(digest)]--
		return v1.Matched, ""
	}
	if c.same && len(c.wanted) == 0 { // the value says that all of them are as they should be
		return v1.Matched, ""
	}
	slot := e.Slot()
	for k := range c.wanted {
		if !c.paired[k] && c.wanted[k].Slot == slot {
			c.paired[k] = true
			return v1.Unknown, hex.EncodeToString(c.wanted[k].Digest)
		}
	}
	return v1.Unknown, ""
}

// missing returns the events that should have been measured and were not. It is asked for after all events were
// compared.
func (c *comparison) missing() []v1.BootEvent {
	var out []v1.BootEvent
	add := func(slot, note string, digest []byte) {
		out = append(out, v1.BootEvent{
			Type: slotType(slot), Expected: hex.EncodeToString(digest), Text: clip(appraise.Printable(note), maxText),
			Standing: v1.Missing, Reference: c.document.Name,
		})
	}
	for k, e := range c.wanted {
		if !c.paired[k] {
			add(e.Slot, noteOr(e.Note, e.Slot), e.Digest)
		}
	}
	if c.set == nil {
		return out
	}
	for k := range c.set.Events {
		e := &c.set.Events[k]
		pattern := slices.Contains([]byte(e.Slot), '*')
		// The events of a pattern are different things, so that each of them is required by itself.
		if e.Required && !c.seen[e] && (pattern || !c.settled[e.Slot]) {
			c.settled[e.Slot] = true
			add(e.Slot, noteOr(e.Note, e.Slot), e.Digests.Get(c.alg))
		}
	}
	return out
}

func noteOr(note, otherwise string) string {
	if note != "" {
		return note
	}
	return otherwise
}

// slotType returns the event type that a slot begins with.
func slotType(slot string) string {
	for i := range len(slot) {
		if slot[i] == ' ' || slot[i] == '*' {
			return appraise.Printable(slot[:i])
		}
	}
	return appraise.Printable(slot)
}
