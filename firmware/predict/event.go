package predict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/pcr"
)

// banks are those that a verdict can be built on.
var banks = []pcr.Algorithm{pcr.SHA256, pcr.SHA384}

// Event is one expected event.
type Event struct {
	PCR int
	// Slot is what (*eventlog.Event).Slot returns for the event.
	Slot string
	// SlotPattern stands for Slot where a part of it differs between machines: "*" stands for any characters, also
	// none. It is empty where Slot is exact, and always where Digests is empty.
	SlotPattern string
	// Digests has one digest for each of SHA-256 and SHA-384. Empty: the slot is expected, its content depends on the
	// machine.
	Digests map[pcr.Algorithm][]byte
	// Reason says why there are no Digests.
	Reason string
	// Required tells that a healthy boot measures the event; otherwise it may.
	Required bool
	// Note says what the event is, for people.
	Note string
}

// Matches reports whether an observed event of the same PCR, with this slot and this digest in bank a, is the expected
// one.
func (e *Event) Matches(slot string, a pcr.Algorithm, digest []byte) bool {
	if len(e.Digests) > 0 && (len(digest) == 0 || !bytes.Equal(e.Digests[a], digest)) {
		return false
	}
	if e.SlotPattern != "" {
		return match(e.SlotPattern, slot)
	}
	return e.Slot == slot
}

// match matches a text with a pattern in which only "*" is special. The time is linear in the text for each "*".
func match(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, last)
}

// record is a measurement as it stands in a log.
type record struct {
	pcr  int
	typ  eventlog.EventType
	data []byte // of the event
	// What is hashed: digests if set, else content, else data.
	content  []byte
	digests  map[pcr.Algorithm][]byte
	reason   string // set: the digest is not known
	pattern  string // of the slot, after the type
	optional bool
	note     string
}

// event turns a record into an expected event.
func (r record) event() (Event, error) {
	e := Event{PCR: r.pcr, Reason: r.reason, Required: !r.optional, Note: r.note}
	switch {
	case r.reason != "":
	case r.digests != nil:
		e.Digests = r.digests
	case r.content != nil:
		e.Digests = digests(r.content)
	default:
		e.Digests = digests(r.data)
	}
	named := e.Digests
	if named == nil { // eventlog names some data by its being what was measured
		named = digests(r.data)
	}
	slot, err := r.slot(named)
	if err != nil {
		return Event{}, err
	}
	e.Slot = slot
	if r.pattern != "" && e.Digests != nil {
		e.SlotPattern = r.typ.String() + r.pattern
	}
	return e, nil
}

func digests(content []byte) map[pcr.Algorithm][]byte {
	out := make(map[pcr.Algorithm][]byte, len(banks))
	for _, a := range banks {
		h := a.New()
		h.Write(content)
		out[a] = h.Sum(nil)
	}
	return out
}

// slot asks package eventlog how it names the record, by a log that holds nothing else.
func (r record) slot(d map[pcr.Algorithm][]byte) (string, error) {
	le := binary.LittleEndian
	spec := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 0, 2)
	spec = le.AppendUint32(spec, uint32(len(banks)))
	for _, a := range banks {
		spec = le.AppendUint16(le.AppendUint16(spec, uint16(a)), uint16(a.Size()))
	}
	spec = append(spec, 0)
	b := le.AppendUint32(le.AppendUint32(nil, 0), uint32(eventlog.NoAction))
	b = append(b, make([]byte, pcr.SHA1.Size())...)
	b = append(le.AppendUint32(b, uint32(len(spec))), spec...)
	b = le.AppendUint32(le.AppendUint32(b, uint32(r.pcr)), uint32(r.typ))
	b = le.AppendUint32(b, uint32(len(banks)))
	for _, a := range banks {
		b = append(le.AppendUint16(b, uint16(a)), d[a]...)
	}
	b = append(le.AppendUint32(b, uint32(len(r.data))), r.data...)
	log, err := eventlog.Parse(b)
	if err != nil {
		return "", inputError("an event of PCR %d with %d bytes of data has no place in a log: %w", r.pcr, len(r.data), err)
	}
	if len(log.Events) != 1 {
		return "", fmt.Errorf("a log of one event has %d", len(log.Events))
	}
	return log.Events[0].Slot(), nil
}

// utf16z returns a text as EFI programs pass it: UTF-16LE with a NUL.
func utf16z(s string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return append(out, 0, 0)
}

// imageLoad returns the data of an event for a program that was loaded from this path, from memory if it is empty: a
// UEFI_IMAGE_LOAD_EVENT (PFP section 10.2.3) without addresses, which differ between machines.
func imageLoad(nodes []byte) []byte {
	out := make([]byte, 24, 40+len(nodes))
	if len(nodes) > 0 {
		nodes = append(nodes[:len(nodes):len(nodes)], 0x7f, 0xff, 4, 0)
	}
	out = binary.LittleEndian.AppendUint64(out, uint64(len(nodes)))
	return append(out, nodes...)
}

// filePath returns a file path node (UEFI 2.10, section 10.3.5.4).
func filePath(path string) []byte {
	if path == "" {
		return nil
	}
	name := utf16z(path)
	node := binary.LittleEndian.AppendUint16([]byte{4, 4}, uint16(4+len(name)))
	return append(node, name...)
}

// variableData returns a UEFI_VARIABLE_DATA (PFP section 10.2.6).
func variableData(guid [16]byte, name string, value []byte) []byte {
	n := utf16z(name)
	n = n[:len(n)-2]
	out := binary.LittleEndian.AppendUint64(guid[:len(guid):len(guid)], uint64(len(n)/2))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(value)))
	return append(append(out, n...), value...)
}

// tag returns a TCG_PCClientTaggedEvent (PFP section 10.4.2.1).
func tag(id uint32, text string) []byte {
	out := binary.LittleEndian.AppendUint32(nil, id)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text)+1))
	return append(append(out, text...), 0)
}
