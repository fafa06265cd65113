// Package appraise turns evidence into a verdict.
//
// It is pure: everything that an appraisal depends on is in Input (evidence, device record, reference values, policy,
// the time), everything that it decides is in Outcome; there is no clock, network or database. The same input always
// gives the same outcome, so that anybody can recompute a verdict. Memo only saves work.
//
// Claimed data (Claimed, eventlog.Log, IMA bytes) and verified data (authentic, eventlog.Verified) are different types;
// verification is the only constructor of the latter. Every check fails closed. Evidence that is not authentic or not
// fresh is a *Rejection and changes nothing; authentic evidence always gives a Result, however bad.
package appraise

import (
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// Claimed is evidence that was decoded and nothing else. Do not change it: claims are shared.
type Claimed struct {
	Evidence proto.Evidence
	Claims   *proto.Claims
	Digest   proto.Digest // of the message
}

// Open decodes an evidence message and its claims. memo may be nil. Errors are *Rejection.
func Open(message []byte, memo *Memo) (*Claimed, error) {
	c := &Claimed{Digest: proto.Sum(message)}
	if err := proto.Decode(message, &c.Evidence); err != nil {
		return nil, reject(proto.CodeMalformed, err)
	}
	var err error
	if c.Claims, err = memo.claims(c.Evidence.Claims); err != nil {
		return nil, reject(proto.CodeMalformed, err)
	}
	return c, nil
}

// Identity is what enrolment established.
type Identity struct {
	AK    []byte // TPMT_PUBLIC; SubjectPublicKeyInfo for Level Software
	Level result.Level
}

// Input is everything that an appraisal depends on.
type Input struct {
	Tenant, Device string
	Claimed        *Claimed
	Nonce          challenge.Nonce // the evidence's nonce after it was checked
	Identity       Identity
	Record         Record
	References     *reference.Set
	Policy         *Policy
	Rules          Rules // of the policy document; nil: none
	Now            time.Time
	// Content returns the bytes that have a digest, false where the verifier does not have them.
	Content func(proto.Digest) ([]byte, bool)
	// Peers, optional, returns what most devices of the same vendor, model and firmware version have in a flash region.
	Peers func(region string) Majority
	// Memo, optional, keeps what was derived from boot logs and keys.
	Memo *Memo
}

// Outcome is everything that an appraisal decides.
type Outcome struct {
	Result   result.Result
	Record   Record
	Platform *proto.Platform // set when the device described itself anew
}

// Rejection says why evidence was not appraised. The device's state does not change by it.
type Rejection struct {
	Code string // one of proto's codes of receipts
	Err  error
}

func (r *Rejection) Error() string { return "evidence rejected (" + r.Code + "): " + r.Err.Error() }

// Unwrap returns the cause.
func (r *Rejection) Unwrap() error { return r.Err }

func reject(code string, err error) *Rejection { return &Rejection{Code: code, Err: err} }

// MissingError names content that must be fetched before the evidence can be appraised.
type MissingError struct{ Digests []proto.Digest }

func (m *MissingError) Error() string {
	return fmt.Sprintf("content is missing: %v", m.Digests)
}

// authentic is evidence that the device's key signed for our nonce. authenticate is its only constructor.
type authentic struct {
	*Claimed
	quote quote
	bank  *pcr.Bank // quoted values; nil without a TPM
}

// Appraise appraises one piece of evidence. The checks, in order:
//
//  1. structure and limits (already by Open), nonce as checked
//  2. AK signature
//  3. magic, type, signer, exact PCR selection and bank
//  4. qualifying data: binds nonce and claims
//  5. freshness: newer than the last accepted nonce
//  6. PCR values against the quoted digest
//  7. strength of the PCR bank; TPM clock, reset and restart counters
//  8. boot log: rules, replay against the quoted PCRs
//  9. boot events and PCRs against deny-lists and reference values: of the documents in force, else of those that tell of
//     a rollback or of a period that is over; endorsers; Secure Boot
//  10. IMA: prefix replay to PCR 10, boot aggregate, files against deny-lists and reference values
//  11. identity level
//  12. flash regions: deny-lists, place, excluded ranges and digests against reference values, chosen as in 9; growth of
//     excluded ranges between versions, age; what no reference covers against what the device had before, and against
//     what most devices of the model and version have
//  13. hardware inventory against reference values
//  14. tamper lines, also those that reference values have and the device does not tell of
//
// What 12 to 14 look at is fresh and bound by the signature, but self-asserted: see Strengths of the result.
// Errors are *Rejection (1 to 6, nothing changed) or *MissingError. From 7 on everything is a finding.
func Appraise(in Input) (Outcome, error) {
	a, err := authenticate(in)
	if err != nil {
		return Outcome{}, err
	}
	ap := &appraisal{
		in: in, evidence: a,
		next: Record{NonceAt: in.Nonce.IssuedAt().UnixNano(), BootID: a.Claims.BootID},
	}
	ap.platform()
	ap.model = in.References.For(ap.next.Vendor, ap.next.Model).At(in.Now)
	ap.strength = result.Strengths{
		Identity: result.SelfAsserted, Boot: result.None, Runtime: result.None, Flash: result.None, Platform: result.None,
	}
	if a.bank != nil {
		ap.next.remember(a, &in.Record)
		ap.strength.Identity, ap.strength.Boot = result.Hardware, result.Hardware
		ap.bank()
		ap.counters()
	}
	ap.boot()
	if err := ap.runtime(); err != nil {
		return Outcome{}, err
	}
	ap.identity()
	ap.flash()
	ap.inventory()
	ap.tamper()
	if ap.refused != nil {
		return Outcome{}, ap.refused
	}
	if len(ap.missing) > 0 {
		return Outcome{}, &MissingError{Digests: ap.missing}
	}
	return Outcome{Result: ap.conclude(), Record: ap.next, Platform: ap.described}, nil
}

func authenticate(in Input) (*authentic, error) {
	ev := &in.Claimed.Evidence
	if string(ev.Nonce) != string(in.Nonce.Bytes()) {
		return nil, reject(proto.CodeNonceForeign, errors.New("evidence carries another nonce than the one that was checked"))
	}
	qualifying := proto.QualifyingData(ev.Nonce, ev.Claims)
	a := &authentic{Claimed: in.Claimed}
	var err error
	if in.Identity.Level == result.Software {
		err = a.checkSoftware(in, qualifying)
	} else {
		err = a.checkQuote(in, qualifying)
	}
	if err != nil {
		return nil, err
	}
	if issued := in.Nonce.IssuedAt().UnixNano(); issued <= in.Record.NonceAt {
		return nil, reject(proto.CodeNonceReplayed, errors.New("evidence for this or a newer nonce was accepted before"))
	}
	if a.quote.bank != 0 {
		return a, a.checkPCRs(in)
	}
	return a, nil
}

func (a *authentic) checkSoftware(in Input, qualifying proto.Digest) error {
	key, err := parseSoftwareKey(in.Identity.AK)
	if err != nil {
		return reject(proto.CodeNotEnrolled, err)
	}
	if err := key.verifySoftware(qualifying, a.Evidence.Signature); err != nil {
		return reject(proto.CodeSignature, err)
	}
	if len(a.Evidence.Quote) > 0 || len(a.Evidence.PCRs) > 0 || len(a.Evidence.PCRBase) > 0 || a.Claims.Bank != 0 {
		return reject(proto.CodeSelection, errors.New("a device without a TPM cannot quote PCRs"))
	}
	return nil
}

func (a *authentic) checkQuote(in Input, qualifying proto.Digest) error {
	key, err := in.Memo.attestationKey(in.Identity.AK)
	if err != nil {
		return reject(proto.CodeNotEnrolled, err)
	}
	if err := key.verify(a.Evidence.Quote, a.Evidence.Signature); err != nil {
		return reject(proto.CodeSignature, err)
	}
	q, err := parseQuote(a.Evidence.Quote)
	if err != nil {
		return reject(proto.CodeSignature, fmt.Errorf("quote: %w", err))
	}
	if string(q.signer) != string(key.qualified) {
		return reject(proto.CodeSignature, errors.New("quote: signer is not the AK as a primary of the endorsement hierarchy"))
	}
	if string(q.extraData) != string(qualifying[:]) {
		return reject(proto.CodeSignature, errors.New("quote: qualifying data does not bind this nonce and these claims"))
	}
	if q.selection != in.Policy.PCRs {
		return reject(proto.CodeSelection, fmt.Errorf("quote: PCRs %s, want exactly %s", q.selection, in.Policy.PCRs))
	}
	// SHA-1 is offered to every device as the last resort: whether it counts is a finding.
	known := q.bank == pcr.SHA1 || q.bank.Trusted() && in.Policy.accepts(q.bank)
	if !known || pcr.Algorithm(a.Claims.Bank) != q.bank {
		return reject(proto.CodeSelection, fmt.Errorf("quote: bank %s, claimed %s, want one of %v, or sha1 where there is no other",
			q.bank, pcr.Algorithm(a.Claims.Bank), in.Policy.Banks))
	}
	a.quote = q
	return nil
}

// checkPCRs puts the values together, those that were sent over those that are remembered, and compares them with the
// quoted digest. The map cannot carry a PCR twice; one that was not asked for is refused.
func (a *authentic) checkPCRs(in Input) error {
	bank := pcr.NewBank(a.quote.bank)
	if base := a.Evidence.PCRBase; len(base) > 0 {
		known := in.Record.bank()
		if known == nil || string(in.Record.Base) != string(base) || known.Algorithm() != a.quote.bank {
			return reject(proto.CodeOutOfSync, errors.New("PCR values refer to a base that the verifier does not have"))
		}
		bank = known
	}
	for i, v := range a.Evidence.PCRs {
		if !a.quote.selection.Has(int(i)) {
			return reject(proto.CodePCRValues, fmt.Errorf("PCR %d was not quoted", i))
		}
		if err := bank.Set(int(i), v); err != nil {
			return reject(proto.CodePCRValues, err)
		}
	}
	if bank.Present() != a.quote.selection {
		return reject(proto.CodePCRValues, fmt.Errorf("values of PCRs %s, quoted %s", bank.Present(), a.quote.selection))
	}
	digest, err := bank.Composite(a.quote.selection, pcr.SHA256.Hash())
	if err != nil {
		return reject(proto.CodePCRValues, err)
	}
	if string(digest) != string(a.quote.digest) {
		return reject(proto.CodePCRValues, errors.New("PCR values do not give the quoted digest"))
	}
	a.bank = bank
	return nil
}
