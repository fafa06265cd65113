package shipment

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/firmware/predict"
)

// lastPCR is the last register that boot programs measure into. The following ones can be reset by software.
const lastPCR = 14

// machinePCRs hold what differs between healthy devices of a model where only a log tells of them: boot order, SMBIOS
// tables and partition tables (TCG PC Client Platform Firmware Profile 1.06, sections 3.3.4.2 and 3.3.4.6).
var machinePCRs = pcr.Select(1, 5)

// open is a slot whose content the images don't tell.
type open struct{ required bool }

// untouched is the value of a PCR up to lastPCR that nothing has extended.
var untouched = manifest.Digests{
	{Algorithm: pcr.SHA256, Value: make([]byte, pcr.SHA256.Size())}, {Algorithm: pcr.SHA384, Value: make([]byte, pcr.SHA384.Size())},
}

// register collects what is known of one PCR.
type register struct {
	pcr    manifest.PCR
	degree predict.Degree
	why    string
	open   map[string]open
	origin [2]bool // images, log
	events []predict.Event
}

// boot predicts the PCRs and adds what logs tell.
func (b *builder) boot(ctx context.Context) error {
	if b.in.Boot == nil && len(b.in.Logs) == 0 {
		return nil
	}
	var registers [lastPCR + 1]register
	if b.in.Boot == nil {
		for i := range registers {
			registers[i].why = "no images are given"
		}
	} else {
		b.progress(Progress{Step: "boot chain"})
		p, err := predict.Boot(*b.in.Boot)
		if err != nil {
			return err
		}
		b.report.Firmware, b.report.SecureBoot = p.Firmware, p.SecureBoot.String()
		for i := range registers {
			registers[i].predicted(p, i)
		}
	}
	for i := range registers {
		registers[i].pcr.Index = i
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.logs(registers[:]); err != nil {
		return err
	}
	for i := range registers {
		b.register(&registers[i])
	}
	return nil
}

// predicted takes the prediction of one PCR over.
func (r *register) predicted(p *predict.Prediction, i int) {
	c := p.Coverage[i]
	r.degree, r.why = c.Degree, c.Why
	if c.Degree == predict.None {
		return
	}
	if c.Degree == predict.Complete && c.Why != "" {
		r.why = "assuming " + c.Why
	}
	r.origin[0] = true
	r.open = map[string]open{}
	r.events = p.PCR(i)
	for _, e := range r.events {
		if len(e.Digests) == 0 {
			r.open[e.Slot] = open{required: r.open[e.Slot].required || e.Required}
			continue
		}
		var list manifest.Digests
		for _, a := range slices.Sorted(maps.Keys(e.Digests)) {
			list = append(list, manifest.Digest{Algorithm: a, Value: e.Digests[a]})
		}
		r.add(manifest.Event{
			Slot: cut(e.Slot, manifest.MaxText), Digests: list, Note: cut(e.Note, manifest.MaxNote), Required: e.Required,
		})
	}
}

// add appends an event, unless it is there: what is measured twice is one member of the set.
func (r *register) add(e manifest.Event) {
	for i := range r.pcr.Events {
		have := &r.pcr.Events[i]
		if have.Slot == e.Slot && share(have.Digests, e.Digests) {
			have.Required = have.Required || e.Required
			return
		}
	}
	r.pcr.Events = append(r.pcr.Events, e)
}

// share reports whether lists have a digest in common.
func share(a, b manifest.Digests) bool {
	return slices.ContainsFunc(a, func(d manifest.Digest) bool {
		return string(b.Get(d.Algorithm)) == string(d.Value)
	})
}

// register writes what is known of a PCR into the manifest and the report.
func (b *builder) register(r *register) {
	out := Register{Index: r.pcr.Index, Coverage: "none", Events: len(r.pcr.Events), Why: r.why}
	defer func() { b.report.PCRs = append(b.report.PCRs, out) }()
	switch {
	case r.origin == [2]bool{}:
		return
	case r.origin[0] && r.origin[1]:
		out.Origin = "images and log"
	case r.origin[0]:
		out.Origin = "images"
	default:
		out.Origin = "log"
	}
	switch {
	case !r.origin[0] && machinePCRs.Has(r.pcr.Index):
		r.pcr.Coverage = manifest.Informative
	case r.degree == predict.Partial:
		r.pcr.Coverage = manifest.Partial
	}
	if len(r.pcr.Events) == 0 && r.pcr.Coverage == manifest.Complete {
		r.pcr.Values = []manifest.Digests{untouched}
	}
	out.Coverage = r.pcr.Coverage.String()
	r.pcr.Note = cut(r.why, manifest.MaxNote)
	sortEvents(r.pcr.Events)
	b.m.PCRs = append(b.m.PCRs, r.pcr)
}

// wanted reports whether events of a log are looked at: IMA's register has no boot events.
func wanted(i uint32) bool { return i <= lastPCR && i != ima.PCR }

// slots lists open slots for people.
func slots(open map[string]open) string {
	return strings.Join(slices.Sorted(maps.Keys(open)), ", ")
}
