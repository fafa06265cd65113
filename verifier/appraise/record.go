package appraise

import (
	"bytes"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// Record is what an appraisal remembers of a device for the next one. The zero Record is that of a device that never
// attested.
type Record struct {
	NonceAt   int64            `cbor:"1,keyasint,omitempty"` // issue time of the newest accepted nonce, nanoseconds since 1970
	Clock     uint64           `cbor:"2,keyasint,omitempty"` // TPMS_CLOCK_INFO of the newest quote
	Resets    uint32           `cbor:"3,keyasint,omitempty"`
	Restarts  uint32           `cbor:"4,keyasint,omitempty"`
	TPM       uint64           `cbor:"5,keyasint,omitempty"` // firmware version of the TPM
	BootID    []byte           `cbor:"6,keyasint,omitempty"`
	Bank      uint16           `cbor:"7,keyasint,omitempty"`
	PCRs      []byte           `cbor:"8,keyasint,omitempty"` // values of Selection in ascending order
	Selection uint32           `cbor:"9,keyasint,omitempty"`
	IMA       ima.State        `cbor:"10,keyasint"`
	Runtime   []result.Finding `cbor:"11,keyasint,omitempty"` // about IMA entries that are not sent again
	Basis     string           `cbor:"12,keyasint,omitempty"` // references and policy that Runtime was judged by
	FirstSeen map[string]int64 `cbor:"13,keyasint,omitempty"` // finding: since when, seconds since 1970
	Vendor    string           `cbor:"14,keyasint,omitempty"`
	Model     string           `cbor:"15,keyasint,omitempty"`
	Platform  []byte           `cbor:"16,keyasint,omitempty"` // digest of the newest platform description
	Base      []byte           `cbor:"18,keyasint,omitempty"` // tag under which the device knows PCRs
	Swapped   bool             `cbor:"17,keyasint,omitempty"` // the TPM was reset under the boot BootID
	Strong    uint16           `cbor:"19,keyasint,omitempty"` // best bank that was ever quoted, where Bank is a weaker one
	Agent     agentState       `cbor:"20,keyasint,omitempty"` // what the appraised IMA entries say of the agent's binary
	Seen      []seenRegion     `cbor:"21,keyasint,omitempty"` // flash regions that no reference covers
}

// agentState is what an IMA list says of the agent that speaks for the device.
type agentState uint8

const (
	agentUnseen  agentState = 0 // it does not name the agent
	agentKnown   agentState = 1 // the agent ran, with its reference digest and no other
	agentForeign agentState = 2 // a program of the agent's name ran with another digest
)

// seenRegion is a flash region of which only the device's earlier reports tell what it held.
type seenRegion struct {
	Name   string `cbor:"1,keyasint"`
	Digest []byte `cbor:"2,keyasint"`
	Was    []byte `cbor:"3,keyasint,omitempty"` // digest before it changed; absent: it never did
}

var (
	encoding = func() cbor.EncMode {
		m, err := cbor.CoreDetEncOptions().EncMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
	decoding = func() cbor.DecMode {
		m, err := cbor.DecOptions{ExtraReturnErrors: cbor.ExtraDecErrorUnknownField}.DecMode()
		if err != nil {
			panic(err)
		}
		return m
	}()
)

// Encode returns the record as it is stored.
func (r *Record) Encode() ([]byte, error) {
	b, err := encoding.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode device record: %w", err)
	}
	return b, nil
}

// DecodeRecord reads a stored record; nothing is the zero Record.
func DecodeRecord(b []byte) (Record, error) {
	var r Record
	if len(b) == 0 {
		return r, nil
	}
	if err := decoding.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("decode device record: %w", err)
	}
	return r, nil
}

// bank returns the remembered PCR values, nil if there are none.
func (r *Record) bank() *pcr.Bank {
	alg, sel := pcr.Algorithm(r.Bank), pcr.Selection(r.Selection)
	if alg.Size() == 0 || len(r.PCRs) != sel.Len()*alg.Size() {
		return nil
	}
	b := pcr.NewBank(alg)
	rest := r.PCRs
	for i := range pcr.Count {
		if !sel.Has(i) {
			continue
		}
		if b.Set(i, rest[:alg.Size()]) != nil {
			return nil
		}
		rest = rest[alg.Size():]
	}
	return b
}

// remember stores the quoted PCR values; those of was, where nothing changed.
func (r *Record) remember(a *authentic, was *Record) {
	b := a.bank
	r.Bank, r.Selection = uint16(b.Algorithm()), uint32(b.Present())
	if len(a.Evidence.PCRBase) > 0 && len(a.Evidence.PCRs) == 0 {
		r.PCRs, r.Base = was.PCRs, was.Base
		return
	}
	r.PCRs = make([]byte, 0, b.Present().Len()*b.Algorithm().Size())
	for i := range pcr.Count {
		r.PCRs = append(r.PCRs, b.Value(i)...)
	}
	r.Base = proto.PCRBase(r.Bank, r.Selection, b.Value)
}

// Ask completes a challenge with what the verifier still knows of the device, so that it sends only what is new. The IMA
// list is asked for from its beginning where references, their validity at now, or policy changed since it was judged.
func (r *Record) Ask(c *proto.Challenge, set *reference.Set, p *Policy, now time.Time) {
	c.PCRBase = r.Base
	if len(r.BootID) == proto.BootIDSize && r.Basis == basis(set.For(r.Vendor, r.Model).At(now), p) {
		c.BootID, c.IMAFrom = r.BootID, r.IMA.Entries
	}
}

func basis(m *reference.View, p *Policy) string { return m.ID() + "|" + p.ID() }

// sameBoot reports whether the claimed boot is the remembered one.
func (r *Record) sameBoot(bootID []byte) bool {
	return len(r.BootID) > 0 && bytes.Equal(r.BootID, bootID)
}

// since returns when a finding was first seen and remembers it in next.
func (r *Record) since(next *Record, f *result.Finding, now time.Time) time.Time {
	at := r.firstSeen(f, now)
	if next.FirstSeen == nil {
		next.FirstSeen = make(map[string]int64)
	}
	next.FirstSeen[findingKey(f)] = at.Unix()
	return at
}

// firstSeen returns when a finding was first seen: now, if it is new.
func (r *Record) firstSeen(f *result.Finding, now time.Time) time.Time {
	if at, ok := r.FirstSeen[findingKey(f)]; ok {
		return time.Unix(at, 0).UTC()
	}
	return time.Unix(now.Unix(), 0).UTC()
}

func findingKey(f *result.Finding) string { return f.Code + "|" + f.Component + "|" + f.Observed }
