// Package eventlogtest makes boot logs of machines that measured something else than a captured one: what an implant or
// a changed setting would have left, for tests and virtual devices.
package eventlogtest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/firmware/eventlog"
)

// Remeasure returns a copy of a crypto-agile log in which the first event that pick chooses has another measurement in
// every bank. Where change is nil, it is that of other bytes than the event's data, as of an image whose path stays the
// same; else it is that of the data after change, which must keep its length.
func Remeasure(log []byte, pick func(*eventlog.Event) bool, change func(data []byte)) ([]byte, error) {
	parsed, err := eventlog.Parse(log)
	if err != nil {
		return nil, err
	}
	if parsed.Format != eventlog.FormatTCG2 {
		return nil, fmt.Errorf("remeasure: format %s, want %s", parsed.Format, eventlog.FormatTCG2)
	}
	for i := range parsed.Events {
		e := &parsed.Events[i]
		if e.Extends() && pick(e) {
			out := append([]byte(nil), log...)
			return out, rewrite(out, parsed, e, change)
		}
	}
	return nil, errors.New("remeasure: no event was chosen")
}

// rewrite changes one TCG_PCR_EVENT2 (PC Client Platform Firmware Profile 1.06, section 10.2.2) in place: PCR, type, count
// of digests, digests (algorithm, value), size, data.
func rewrite(out []byte, log *eventlog.Log, e *eventlog.Event, change func([]byte)) error {
	measured := []byte("other bytes than before")
	at := e.Offset + 8
	count := int(binary.LittleEndian.Uint32(out[at:]))
	end := at + 4
	for range count {
		a := log.Banks[0]
		for _, b := range log.Banks {
			if uint16(b) == binary.LittleEndian.Uint16(out[end:]) {
				a = b
			}
		}
		end += 2 + a.Size()
	}
	data := out[end+4:][:len(e.Data)]
	if change != nil {
		change(data)
		measured = data
	}
	at += 4
	for range count {
		for _, a := range log.Banks {
			if uint16(a) != binary.LittleEndian.Uint16(out[at:]) {
				continue
			}
			if a.Hash() == 0 {
				return fmt.Errorf("remeasure: no implementation of %s", a)
			}
			h := a.New()
			h.Write(measured)
			copy(out[at+2:], h.Sum(nil))
			at += 2 + a.Size()
			break
		}
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
