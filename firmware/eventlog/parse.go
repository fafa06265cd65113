package eventlog

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
)

// ParseError tells where a log stops being one.
type ParseError struct {
	Offset int    // byte offset in the log
	Event  int    // number of the record, as Event.Number counts
	Detail string // what was expected and what was found
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("boot event log: event %d, byte %d: %s", e.Event, e.Offset, e.Detail)
}

// Parse reads a log of either format. It hashes nothing and trusts nothing.
//
// It is strict: every record must be complete, carry at least one digest, only digests that the header declares and
// none twice, and extend a PCR that exists. A record may lack a declared digest; Replay of that bank then fails.
// After the last record only zero bytes may follow. The error is always a *ParseError.
func Parse(b []byte) (*Log, error) {
	if len(b) > MaxSize {
		return nil, &ParseError{Detail: fmt.Sprintf("%d bytes exceed the limit of %d", len(b), MaxSize)}
	}
	l := &Log{Format: FormatTCG12, Banks: []pcr.Algorithm{pcr.SHA1}}
	l.sizes[0] = uint16(pcr.SHA1.Size())
	p := parser{log: l, b: b, end: len(bytes.TrimRight(b, "\x00"))}
	if p.end == 0 {
		return nil, &ParseError{Detail: "no events: the log is empty"}
	}
	if err := p.header(); err != nil {
		return nil, err
	}
	l.Events = make([]Event, 0, min(p.end/typicalRecord+8, MaxEvents))
	for p.off < p.end {
		if len(l.Events) == MaxEvents {
			return nil, &ParseError{Offset: p.off, Event: p.number, Detail: fmt.Sprintf("more than %d events", MaxEvents)}
		}
		l.Events = append(l.Events, Event{})
		if err := p.next(&l.Events[len(l.Events)-1]); err != nil {
			return nil, err
		}
	}
	l.Padding = len(b) - p.off
	return l, nil
}

// typicalRecord is the size in bytes from which the number of records is guessed, to allocate for them once: real logs
// have 80 to 700 bytes a record.
const typicalRecord = 256

// parser walks the records of a log.
type parser struct {
	log    *Log
	b      []byte
	end    int // where trailing zero bytes begin: padding, which as records would be EV_PREBOOT_CERTs without digests
	off    int // start of the next record
	number int // of the next record
}

func (p *parser) fail(at int, format string, args ...any) *ParseError {
	return &ParseError{Offset: at, Event: p.number, Detail: fmt.Sprintf(format, args...)}
}

// next reads one record into e.
func (p *parser) next(e *Event) error {
	if p.log.Format == FormatTCG12 {
		return p.next12(e)
	}
	return p.next2(e)
}

// next12 reads a TCG_PCR_EVENT: PCR index, type, SHA-1 digest, data size, data.
func (p *parser) next12(e *Event) error {
	r := p.b[p.off:]
	if len(r) < 32 {
		return p.fail(p.off, "want 32 bytes of a TPM 1.2 record, %d left: the log is cut off", len(r))
	}
	e.digests = r[8:28:28]
	return p.finish(e, 28)
}

// next2 reads a TCG_PCR_EVENT2: PCR index, type, digest count, digests, data size, data.
func (p *parser) next2(e *Event) error {
	r := p.b[p.off:]
	if len(r) < 12 {
		return p.fail(p.off, "want 12 bytes of a record, %d left: the log is cut off", len(r))
	}
	count := binary.LittleEndian.Uint32(r[8:])
	if count == 0 || count > uint32(len(p.log.Banks)) {
		return p.fail(p.off+8, "%d digests, want 1 to %d as the Spec ID header declares", count, len(p.log.Banks))
	}
	var seen uint32
	at := 12
	for k := range int(count) {
		if len(r)-at < 2 {
			return p.fail(p.off+at, "digest list is cut off")
		}
		a := pcr.Algorithm(binary.LittleEndian.Uint16(r[at:]))
		i := p.bank(k, a)
		if i < 0 {
			return p.fail(p.off+at, "digest of algorithm %s, which the Spec ID header does not declare", a)
		}
		if seen&(1<<i) != 0 {
			return p.fail(p.off+at, "second %s digest in one record", a)
		}
		seen |= 1 << i
		n := 2 + int(p.log.sizes[i])
		if len(r)-at < n {
			return p.fail(p.off+at, "%s digest needs %d bytes, %d left: the log is cut off", a, n, len(r)-at)
		}
		at += n
	}
	e.digests = r[12:at:at]
	return p.finish(e, at)
}

// finish reads what both formats share, with the data size at r[at], and moves on.
func (p *parser) finish(e *Event, at int) error {
	r := p.b[p.off:]
	if len(r)-at < 4 {
		return p.fail(p.off+at, "data size is cut off")
	}
	size := uint64(binary.LittleEndian.Uint32(r[at:]))
	at += 4
	if size > uint64(len(r)-at) {
		return p.fail(p.off+at-4, "event data of %d bytes, %d left: the log is cut off", size, len(r)-at)
	}
	stop := at + int(size)
	e.PCR = binary.LittleEndian.Uint32(r)
	e.Type = EventType(binary.LittleEndian.Uint32(r[4:]))
	if e.PCR >= pcr.Count && e.Type != NoAction {
		return p.fail(p.off, "%s extends PCR %d, want a PCR below %d", e.Type, e.PCR, pcr.Count)
	}
	e.Number, e.Offset, e.log = p.number, p.off, p.log
	e.Data = r[at:stop:stop]
	p.off += stop
	p.number++
	return nil
}

// bank returns the index of algorithm a in the header's list, -1 if it is not there. Digests nearly always stand in the
// header's order, hence the guess.
func (p *parser) bank(guess int, a pcr.Algorithm) int {
	if guess < len(p.log.Banks) && p.log.Banks[guess] == a {
		return guess
	}
	for i, b := range p.log.Banks {
		if a == b {
			return i
		}
	}
	return -1
}
