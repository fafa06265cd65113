package shipment

import (
	"errors"
	"fmt"
	"slices"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/firmware/predict"
)

// maxDifferences is the most differences between a log and the images that are listed one by one.
const maxDifferences = 100

// Log is the boot log of a device that is known to be good.
type Log struct {
	Name    string // for people
	Content []byte
	// PCRs are what the device's TPM had after that boot, by bank. Without them the log is only parsed: nothing shows
	// that a machine booted it.
	PCRs []*pcr.Bank
}

// LogReport says what a log was good for.
type LogReport struct {
	Name string `json:"name"`
	// Verified are the banks whose values the log's replay leads to; none: it was only parsed.
	Verified []string `json:"verified,omitempty"`
	// Ignored are PCRs whose value is not given or another, for something else has extended them: their events are left
	// out.
	Ignored []int `json:"ignored_pcrs,omitempty"`
	Used    int   `json:"events_used"`
	// Differences tell where log and images contradict each other; More is how many there are beside.
	Differences []Difference `json:"differences,omitempty"`
	More        int          `json:"more_differences,omitempty"`
}

// Difference is an event in which log and images differ.
type Difference struct {
	PCR    int    `json:"pcr"`
	Slot   string `json:"slot"`
	Digest string `json:"digest,omitempty"` // that the log has
	Detail string `json:"detail"`
}

// reading is a log while it is used.
type reading struct {
	*eventlog.Log
	report LogReport
	banks  []pcr.Algorithm
	events [lastPCR + 1][]*eventlog.Event
}

// logs adds what the logs tell: events of PCRs that are not predicted, and contents of slots whose content is not.
func (b *builder) logs(registers []register) error {
	var list []*reading
	for i := range b.in.Logs {
		l, err := read(&b.in.Logs[i])
		if err != nil {
			return fmt.Errorf("boot log %s: %w", b.in.Logs[i].Name, err)
		}
		list = append(list, l)
	}
	if len(list) == 0 {
		return nil
	}
	for i := range registers {
		r := &registers[i]
		if !r.origin[0] {
			b.unpredicted(r, list)
			continue
		}
		for _, l := range list {
			b.compare(r, l)
		}
		r.settle(list)
	}
	for _, l := range list {
		b.report.Logs = append(b.report.Logs, l.report)
	}
	return nil
}

// read parses a log and verifies it, if there are PCR values.
func read(in *Log) (*reading, error) {
	log, err := eventlog.Parse(in.Content)
	if err != nil {
		return nil, err
	}
	l := &reading{Log: log, report: LogReport{Name: in.Name}}
	for _, a := range []pcr.Algorithm{pcr.SHA256, pcr.SHA384} {
		if slices.Contains(log.Banks, a) {
			l.banks = append(l.banks, a)
		}
	}
	if len(l.banks) == 0 {
		return nil, inputError("it has the banks %v: a verdict needs sha256 or sha384", log.Banks)
	}
	for _, bank := range in.PCRs {
		if slices.Contains(l.banks, bank.Algorithm()) {
			if err := l.verify(bank); err != nil {
				return nil, err
			}
		}
	}
	if len(in.PCRs) > 0 && len(l.report.Verified) == 0 {
		return nil, inputError("the PCR values given are of other banks than the log's, %v", l.banks)
	}
	for i := range log.Events {
		e := &log.Events[i]
		if e.Extends() && wanted(e.PCR) && !slices.Contains(l.report.Ignored, int(e.PCR)) {
			l.events[e.PCR] = append(l.events[e.PCR], e)
		}
	}
	return l, nil
}

// verify compares the log with PCR values. A PCR that something else extends later is left out; a log that breaks the
// rules, or that fits no PCR, is refused.
func (l *reading) verify(bank *pcr.Bank) error {
	_, err := l.Verify(bank)
	var mismatch *eventlog.MismatchError
	if errors.As(err, &mismatch) {
		bank = bank.Clone()
		for _, m := range mismatch.Mismatches {
			if !slices.Contains(l.report.Ignored, m.PCR) {
				l.report.Ignored = append(l.report.Ignored, m.PCR)
			}
			if err := bank.Set(m.PCR, m.Replayed); err != nil {
				return err
			}
		}
		replayed, replayErr := l.Replay(bank.Algorithm())
		if replayErr != nil {
			return replayErr
		}
		if len(mismatch.Mismatches) == replayed.Present().Len() {
			return fmt.Errorf("no PCR has the value that it replays to, so that it is of another boot: %w", err)
		}
		_, err = l.Verify(bank)
	}
	if err != nil {
		return err
	}
	l.report.Verified = append(l.report.Verified, bank.Algorithm().String())
	return nil
}

// origin says for people where events come from.
func (l *reading) origin() string {
	if len(l.report.Verified) > 0 {
		return "boot log " + l.report.Name + ", which leads to the PCR values of its TPM"
	}
	return "boot log " + l.report.Name + ", which was not compared with PCR values"
}

// event returns what the manifest says of an event. Its note says what it is, for findings call it so, and where it comes
// from, if that is not where the rest of its PCR does.
func (l *reading) event(e *eventlog.Event, required, alone bool) manifest.Event {
	note := e.Describe().String()
	if !alone {
		note += ", from " + l.origin()
	}
	out := manifest.Event{
		Slot: cut(e.Slot(), manifest.MaxText), Note: cut(note, manifest.MaxNote), Required: required,
	}
	for _, a := range l.banks {
		out.Digests = append(out.Digests, manifest.Digest{Algorithm: a, Value: e.Digest(a)})
	}
	return out
}

// unpredicted takes the events of a PCR that the images don't predict. Slots that all logs have are required.
func (b *builder) unpredicted(r *register, list []*reading) {
	count := map[string]int{}
	for _, l := range list {
		seen := map[string]bool{}
		for _, e := range l.events[r.pcr.Index] {
			if s := e.Slot(); !seen[s] {
				seen[s] = true
				count[s]++
			}
		}
	}
	if len(count) == 0 {
		return
	}
	r.origin[1], r.degree = true, predict.Complete
	images := r.why
	r.why = ""
	for _, l := range list {
		for _, e := range l.events[r.pcr.Index] {
			r.add(l.event(e, count[e.Slot()] == len(list), true))
			l.report.Used++
		}
		if r.why != "" {
			r.why += "; "
		}
		r.why += "from " + l.origin()
	}
	r.why += ", for the images do not tell: " + images
}

// compare looks for the events of a log in the prediction. It takes the content of slots that the images leave open,
// and reports the rest.
func (b *builder) compare(r *register, l *reading) {
	i := r.pcr.Index
	if len(l.events[i]) == 0 {
		return // not logged, or something else extended the PCR
	}
	used := make([]bool, len(r.events))
	for _, e := range l.events[i] {
		slot := e.Slot()
		k := slices.IndexFunc(r.events, func(x predict.Event) bool {
			return x.Matches(slot, l.banks[0], e.Digest(l.banks[0]))
		})
		_, isOpen := r.open[slot]
		switch {
		case k >= 0 && len(r.events[k].Digests) > 0:
			used[k] = true
		case isOpen && machinePCRs.Has(i):
			used[k] = true // another healthy device has another disk
		case isOpen:
			used[k] = true
			r.add(l.event(e, r.open[slot].required, false))
			r.origin[1] = true
			l.report.Used++
		case b.in.FromLogs.Has(i):
			r.add(l.event(e, false, false))
			r.origin[1] = true
			l.report.Used++
		default:
			l.report.differ(Difference{
				PCR: i, Slot: slot, Digest: fmt.Sprintf("%s:%x", l.banks[0], e.Digest(l.banks[0])),
				Detail: "the log has it, the images do not predict it: are they what this device booted?",
			})
		}
	}
	for k := range r.events {
		x := &r.events[k]
		same := func(y predict.Event) bool { return y.Slot == x.Slot }
		first := slices.IndexFunc(r.events, same) // events measured twice, and alternatives
		if x.Required && !used[k] && first == k && !slices.ContainsFunc(l.events[i], func(e *eventlog.Event) bool {
			return x.Matches(e.Slot(), l.banks[0], e.Digest(l.banks[0]))
		}) {
			l.report.differ(Difference{PCR: i, Slot: x.Slot, Detail: "the images predict it (" + x.Note + "), the log lacks it"})
		}
	}
}

// differ notes a difference.
func (r *LogReport) differ(d Difference) {
	if len(r.Differences) >= maxDifferences {
		r.More++
		return
	}
	r.Differences = append(r.Differences, d)
}

// settle closes the slots that a log has filled.
func (r *register) settle(list []*reading) {
	filled := map[string]open{}
	for slot := range r.open {
		if slices.ContainsFunc(r.pcr.Events, func(e manifest.Event) bool { return e.Slot == cut(slot, manifest.MaxText) }) {
			filled[slot] = r.open[slot]
			delete(r.open, slot)
		}
	}
	if len(filled) == 0 {
		return
	}
	note := fmt.Sprintf("content of %s from %s: it depends on the machine, so that a device with another memory or processor may differ",
		slots(filled), list[0].origin())
	if len(r.open) == 0 {
		r.degree, r.why = predict.Complete, note
		return
	}
	r.why = note + "; " + r.why
}
