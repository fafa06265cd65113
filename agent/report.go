package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/probity-attest/probity/agent/charter"
	"github.com/probity-attest/probity/agent/link"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// keepSegment is the largest piece of an IMA list that is kept until the receipt, in bytes. A larger one is read again
// if it is wanted.
const keepSegment = 256 << 10

// collector reads this machine; *collect.Collector is one. What it cannot read is a value, not an error.
type collector interface {
	BootLog() ([]byte, *proto.Unavailable)
	BootID() ([]byte, error)
	IMACount(ctx context.Context) (uint64, *proto.Unavailable)
	IMASegment(ctx context.Context, from uint64) (data []byte, count uint64, un *proto.Unavailable)
	Platform() proto.Platform
}

// flashReader reads flash in the background; *collect.Flash is one.
type flashReader interface {
	// Wait waits for the first pass, at most until so long after the start.
	Wait(ctx context.Context, most time.Duration) bool
	// Regions returns an encoded proto.Flash, nil where there is no flash, and the age of its oldest digest.
	Regions() ([]byte, time.Duration, *proto.Unavailable)
	// Capture sends raw bytes and returns what they are, without the boot id.
	Capture(ctx context.Context, m *proto.CaptureRequest, send func(*proto.CaptureUp) error) (*proto.CaptureStatement, error)
}

// enclosure watches contacts; *collect.Tamper is one.
type enclosure interface {
	Lines(ctx context.Context) []proto.TamperLine
}

// reporter makes evidence, and captures. It implements link.Attester and link.Capturer.
type reporter struct {
	collect collector
	charter *charter.Charter
	agent   string
	tpm     hardware        // nil: software
	key     *softwareDevice // nil: TPM

	reads    bool          // flash is read, or would be if the charter allowed it
	flash    flashReader   // nil: none is read
	wait     time.Duration // for flash, from the start of the agent
	tamper   enclosure     // nil: none is watched
	withheld []proto.TamperLine

	mu    sync.Mutex
	known *pcr.Bank // PCR values of the newest evidence that the verifier appraised
}

// content reads again what evidence named.
type content func(context.Context) ([]byte, error)

// Report implements link.Attester.
//
// The order matters: claims first, since the quote signs their digest; then quote and PCR values; the IMA list last, so
// that it has at least the entries that the quoted PCR 10 has.
func (r *reporter) Report(ctx context.Context, c *proto.Challenge) (*link.Report, error) {
	bank, err := r.bank(c)
	if err != nil {
		return nil, err
	}
	claims, contents, err := r.claims(ctx, c, bank)
	if err != nil {
		return nil, err
	}
	if r.tpm == nil {
		return r.software(c, claims, contents)
	}
	for range 2 {
		ev, values, err := r.quote(c, bank, claims)
		if err != nil {
			return nil, err
		}
		if claims.IMA.Unavailable == nil {
			un := r.segment(ctx, c, claims, ev, contents)
			if un != nil { // it was there a moment ago: the claims must say that it is not any more
				claims.IMA = proto.IMAStatus{Unavailable: un}
				continue
			}
		}
		return r.report(ev, contents, func() { r.remember(values) })
	}
	return nil, errors.New("the IMA list comes and goes while it is being read")
}

// bank returns the PCR bank to quote: the first that the verifier offers and the TPM has, of those that evidence can
// carry. SHA-1, on which no trust can rest, is quoted only where it is offered, which a verifier does last: it explains
// what an old TPM booted.
func (r *reporter) bank(c *proto.Challenge) (pcr.Algorithm, error) {
	if r.tpm == nil {
		return 0, nil
	}
	have, err := r.tpm.Banks()
	if err != nil {
		return 0, fmt.Errorf("PCR banks: %w", err)
	}
	for _, b := range c.Banks {
		if a := pcr.Algorithm(b); (a.Trusted() || a == pcr.SHA1) && slices.Contains(have, a) {
			return a, nil
		}
	}
	var accepted []pcr.Algorithm
	for _, b := range c.Banks {
		accepted = append(accepted, pcr.Algorithm(b))
	}
	return 0, fmt.Errorf("no PCR bank in common: the TPM has %s, the verifier accepts %s: switch on the SHA-256 bank in "+
		"the firmware's setup or with tpm2_pcrallocate, then reboot", names(have), names(accepted))
}

func names(list []pcr.Algorithm) string {
	if len(list) == 0 {
		return "none"
	}
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}

// claims collects what the device says beside PCRs, and how to read again what it only names.
func (r *reporter) claims(
	ctx context.Context, c *proto.Challenge, bank pcr.Algorithm,
) (*proto.Claims, map[proto.Digest]content, error) {
	contents := map[proto.Digest]content{}
	// First what may have to be waited for: the rest shall be fresh.
	flash := r.flashStatus(ctx, time.Duration(c.Lifetime)*time.Second/2, contents)
	boot, err := r.collect.BootID()
	if err != nil {
		return nil, nil, fmt.Errorf("boot id: %w", err)
	}
	m := &proto.Claims{Agent: r.agent, BootID: boot, Bank: uint16(bank), Flash: flash, Tamper: r.tamperLines(ctx)}
	m.BootLog = r.bootLog(contents)
	if m.Platform, err = r.platform(contents); err != nil {
		return nil, nil, err
	}
	switch un := r.charter.IMA(); {
	case un != nil:
		m.IMA.Unavailable = un
	case r.tpm == nil:
		m.IMA.Unavailable = &proto.Unavailable{
			Cause: proto.CauseNoSupport, Reason: "without a TPM nothing proves an IMA list",
		}
	default:
		m.IMA.Count, m.IMA.Unavailable = r.collect.IMACount(ctx)
	}
	return m, contents, nil
}

// flashStatus says what is known of flash. The first report of an agent waits for it as configured, and at most for most:
// evidence must be made while its nonce is fresh.
func (r *reporter) flashStatus(ctx context.Context, most time.Duration, contents map[proto.Digest]content) *proto.FlashStatus {
	if !r.reads {
		return nil
	}
	if un := r.charter.Flash(); un != nil {
		return &proto.FlashStatus{Regions: proto.Item{Unavailable: un}}
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	r.flash.Wait(ctx, r.wait)
	b, age, un := r.flash.Regions()
	switch {
	case un != nil:
		return &proto.FlashStatus{Regions: proto.Item{Unavailable: un}}
	case b == nil: // this machine has none
		return nil
	}
	seconds := uint32(min(age/time.Second, math.MaxUint32))
	return &proto.FlashStatus{
		Regions: name(contents, b, func(context.Context) ([]byte, error) { return b, nil }), Age: seconds,
	}
}

// tamperLines says how the enclosure is.
func (r *reporter) tamperLines(ctx context.Context) []proto.TamperLine {
	if r.tamper == nil {
		return r.withheld
	}
	return r.tamper.Lines(ctx)
}

func (r *reporter) bootLog(contents map[proto.Digest]content) proto.Item {
	if un := r.charter.BootLog(); un != nil {
		return proto.Item{Unavailable: un}
	}
	b, un := r.collect.BootLog()
	if un != nil {
		return proto.Item{Unavailable: un}
	}
	return name(contents, b, func(context.Context) ([]byte, error) {
		b, un := r.collect.BootLog()
		if un != nil {
			return nil, un
		}
		return b, nil
	})
}

func (r *reporter) platform(contents map[proto.Digest]content) (proto.Item, error) {
	p, un := r.charter.Platform(r.collect.Platform())
	if un != nil {
		return proto.Item{Unavailable: un}, nil
	}
	b, err := proto.Encode(&p)
	if err != nil {
		return proto.Item{}, fmt.Errorf("platform: %w", err)
	}
	return name(contents, b, func(context.Context) ([]byte, error) { return b, nil }), nil
}

func name(contents map[proto.Digest]content, b []byte, read content) proto.Item {
	c := proto.Content{Digest: proto.Sum(b), Size: uint32(len(b))}
	contents[c.Digest] = read
	return proto.Item{Content: &c}
}

// quote has the TPM sign claims and PCRs, and leaves out the PCR values that the verifier knows.
func (r *reporter) quote(c *proto.Challenge, bank pcr.Algorithm, claims *proto.Claims) (*proto.Evidence, *pcr.Bank, error) {
	encoded, err := proto.Encode(claims)
	if err != nil {
		return nil, nil, err
	}
	qualifying := proto.QualifyingData(c.Nonce, encoded)
	attest, signature, values, err := r.tpm.QuoteAndRead(bank, pcr.Selection(c.PCRs), qualifying[:])
	if err != nil {
		return nil, nil, err
	}
	ev := &proto.Evidence{Nonce: c.Nonce, Claims: encoded, Quote: attest, Signature: signature, PCRs: map[uint32][]byte{}}
	base := r.base(c, values)
	if base != nil {
		ev.PCRBase = c.PCRBase
	}
	for _, i := range values.Present().Indices() {
		if v := values.Value(i); base == nil || !bytes.Equal(v, base.Value(i)) {
			ev.PCRs[uint32(i)] = v
		}
	}
	return ev, values, nil
}

// base returns the PCR values that the challenge's base stands for, nil where they are not known here.
func (r *reporter) base(c *proto.Challenge, values *pcr.Bank) *pcr.Bank {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.known
	if len(c.PCRBase) == 0 || k == nil || k.Algorithm() != values.Algorithm() || k.Present() != values.Present() {
		return nil
	}
	if !bytes.Equal(proto.PCRBase(uint16(k.Algorithm()), uint32(k.Present()), k.Value), c.PCRBase) {
		return nil
	}
	return k
}

func (r *reporter) remember(values *pcr.Bank) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = values
}

// segment names the part of the IMA list that the verifier has not appraised.
func (r *reporter) segment(
	ctx context.Context, c *proto.Challenge, claims *proto.Claims, ev *proto.Evidence, contents map[proto.Digest]content,
) *proto.Unavailable {
	var from uint64
	if bytes.Equal(c.BootID, claims.BootID) && c.IMAFrom <= claims.IMA.Count {
		from = c.IMAFrom
	}
	data, count, un := r.collect.IMASegment(ctx, from)
	if un != nil {
		return un
	}
	ev.IMA = &proto.IMASegment{From: from, Count: count}
	if count == 0 {
		return nil
	}
	size := len(data)
	item := name(contents, data, func(ctx context.Context) ([]byte, error) {
		again, _, un := r.collect.IMASegment(ctx, from)
		if un != nil {
			return nil, un
		}
		return again[:min(size, len(again))], nil // the list only grows
	})
	ev.IMA.Part = *item.Content
	if size <= keepSegment {
		contents[ev.IMA.Part.Digest] = func(context.Context) ([]byte, error) { return data, nil }
	}
	return nil
}

// software makes evidence without a TPM.
func (r *reporter) software(c *proto.Challenge, claims *proto.Claims, contents map[proto.Digest]content) (*link.Report, error) {
	encoded, err := proto.Encode(claims)
	if err != nil {
		return nil, err
	}
	digest := proto.SoftwareMessage(proto.QualifyingData(c.Nonce, encoded))
	signature, err := ecdsa.SignASN1(rand.Reader, r.key.key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("sign evidence: %w", err)
	}
	return r.report(&proto.Evidence{Nonce: c.Nonce, Claims: encoded, Signature: signature}, contents, nil)
}

func (r *reporter) report(ev *proto.Evidence, contents map[proto.Digest]content, accepted func()) (*link.Report, error) {
	b, err := proto.Encode(ev)
	if err != nil {
		return nil, err
	}
	return &link.Report{
		Evidence: b,
		Content: func(ctx context.Context, d proto.Digest) ([]byte, error) {
			read, ok := contents[d]
			if !ok {
				return nil, errors.New("the evidence does not name it")
			}
			return read(ctx)
		},
		Accepted: accepted,
	}, nil
}
