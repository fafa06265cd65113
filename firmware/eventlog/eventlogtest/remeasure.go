// Package eventlogtest makes boot logs of machines that measured something else than a captured one: what an implant or
// a changed setting would have left, for tests and virtual devices.
package eventlogtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Measurement returns the digest of what was measured, by the hash of a bank.
type Measurement func(pcr.Algorithm) ([]byte, error)

// Of measures these bytes.
func Of(content []byte) Measurement {
	return func(a pcr.Algorithm) ([]byte, error) {
		if a.Hash() == 0 {
			return nil, fmt.Errorf("no implementation of %s", a)
		}
		h := a.New()
		h.Write(content)
		return h.Sum(nil), nil
	}
}

// Remeasure returns a copy of a crypto-agile log in which the first event that pick chooses has another measurement in
// every bank. Where change is nil, it is that of other bytes than the event's data, as of an image whose path stays the
// same; else it is that of the data after change, which must keep its length.
func Remeasure(log []byte, pick func(*eventlog.Event) bool, change func(data []byte)) ([]byte, error) {
	done := false
	out, err := Rewrite(log, func(e *eventlog.Event, data []byte) Measurement {
		switch {
		case done || !pick(e):
			return nil
		case change == nil:
			done = true
			return Of([]byte("other bytes than before"))
		}
		done = true
		change(data)
		return Of(data)
	})
	if err == nil && !done {
		err = errors.New("remeasure: no event was chosen")
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Rewrite returns a copy of a crypto-agile log in which every event that extends a PCR has the measurement that measure
// returns, in every bank; with nil it keeps its own. measure may change the event's data, which must keep their length.
func Rewrite(log []byte, measure func(e *eventlog.Event, data []byte) Measurement) ([]byte, error) {
	parsed, err := eventlog.Parse(log)
	if err != nil {
		return nil, err
	}
	if parsed.Format != eventlog.FormatTCG2 {
		return nil, fmt.Errorf("remeasure: format %s, want %s", parsed.Format, eventlog.FormatTCG2)
	}
	out := bytes.Clone(log)
	for i := range parsed.Events {
		e := &parsed.Events[i]
		if !e.Extends() {
			continue
		}
		if err := rewrite(out, parsed.Banks, e, measure); err != nil {
			return nil, fmt.Errorf("remeasure: event at %d: %w", e.Offset, err)
		}
	}
	return out, nil
}

// rewrite changes one TCG_PCR_EVENT2 (PC Client Platform Firmware Profile 1.06, section 10.2.2) in place: PCR, type, count
// of digests, digests (algorithm, value), size, data.
func rewrite(out []byte, banks []pcr.Algorithm, e *eventlog.Event, measure func(*eventlog.Event, []byte) Measurement) error {
	type place struct {
		bank pcr.Algorithm
		at   int
	}
	at := e.Offset + 12
	var places []place
	for range binary.LittleEndian.Uint32(out[e.Offset+8:]) {
		for _, a := range banks {
			if uint16(a) == binary.LittleEndian.Uint16(out[at:]) {
				places = append(places, place{a, at + 2})
				at += 2 + a.Size()
				break
			}
		}
	}
	m := measure(e, out[at+4:][:len(e.Data)])
	if m == nil {
		return nil
	}
	for _, p := range places {
		digest, err := m(p.bank)
		if err != nil {
			return err
		}
		copy(out[p.at:], digest)
	}
	return nil
}

// BootLoader chooses the boot loader: the first boot application in PCR 4.
func BootLoader(e *eventlog.Event) bool {
	return e.PCR == 4 && e.Type == eventlog.EFIBootServicesApplication
}

// SecureBoot chooses the measurement of the EFI variable SecureBoot.
func SecureBoot(e *eventlog.Event) bool {
	return e.PCR == 7 && e.Slot() == "EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot"
}

// Off clears the value of an EFI variable of one byte, the last byte of its event.
func Off(data []byte) { data[len(data)-1] = 0 }
