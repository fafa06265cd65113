// Package appraisetest makes evidence without a TPM, for tests of the appraisal and for benchmarks: a Device signs with a
// key in memory what a TPM would have signed, over a real boot log and a real IMA list, and can be told to lie.
//
// Evidence of real TPMs is tested end to end; here a test must be able to sign what no TPM would.
package appraisetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// Device is a device whose TPM is in memory. Change its fields to make it lie.
type Device struct {
	ID       string
	AK       []byte // TPMT_PUBLIC, or SubjectPublicKeyInfo of a software device
	Software bool
	Key      *ecdsa.PrivateKey
	RSA      *rsa.PrivateKey // signs in place of Key: see UseRSA

	Bank     *pcr.Bank // PCRs as the TPM has them
	BootLog  []byte    // as the device shows it; nil: unavailable
	IMA      []byte    // as the device shows it; nil: unavailable
	Platform proto.Platform
	BootID   [proto.BootIDSize]byte

	Flash      *proto.Flash       // nil and NoFlash nil: the agent has no flash to read
	FlashAge   uint32             // seconds
	NoFlash    *proto.Unavailable // why none of it can be read
	RawFlash   []byte             // in place of the encoding of Flash
	Tamper     []proto.TamperLine
	NoPlatform *proto.Unavailable // why the device does not describe itself

	Clock            uint64
	Resets, Restarts uint32
	Unsafe           bool // an unclean shutdown before this boot

	// Forge, if set, changes the TPMS_ATTEST before it is signed.
	Forge func(attest []byte) []byte
	// ForgeClaims, if set, changes the claims before they are bound.
	ForgeClaims func(*proto.Claims)

	sent *pcr.Bank // values of the newest report
}

// New returns a device that booted with this log and runs with this IMA list (nil: none), in the SHA-256 bank.
func New(log, list []byte) (*Device, error) { return NewIn(pcr.SHA256, log, list) }

// NewIn is New for a TPM that has another bank.
func NewIn(bank pcr.Algorithm, log, list []byte) (*Device, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	d := &Device{Key: key, BootLog: log, IMA: list, Bank: pcr.Reset(bank), Resets: 7, Restarts: 1, Clock: 1_000_000}
	d.Platform = proto.Platform{Vendor: "Acme", Model: "R7", FirmwareVersion: "2.4.1", Kernel: "6.1.0"}
	if d.AK, err = public(&key.PublicKey); err != nil {
		return nil, err
	}
	d.ID = proto.DeviceID(d.AK)
	_, _ = rand.Read(d.BootID[:])
	if log != nil {
		if err := d.Boot(log); err != nil {
			return nil, err
		}
	}
	return d, d.Measure(list)
}

// NewSoftware returns a device without a TPM.
func NewSoftware() (*Device, error) {
	d, err := New(nil, nil)
	if err != nil {
		return nil, err
	}
	d.Software, d.Bank = true, nil
	d.AK, err = x509.MarshalPKIXPublicKey(&d.Key.PublicKey)
	d.ID = proto.DeviceID(d.AK)
	return d, err
}

// UseRSA gives the device an RSA-2048 AK, as a TPM without P-256 has.
func (d *Device) UseRSA() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	d.RSA = key
	b := []byte{0x00, 0x01, 0x00, 0x0b} // RSA, SHA-256
	b = binary.BigEndian.AppendUint32(b, 0x00050072)
	b = append(b, 0, 0)                                  // no policy
	b = append(b, 0, 0x10, 0, 0x14, 0, 0x0b, 0x08, 0x00) // no symmetric; RSASSA SHA-256; 2048 bits
	b = append(append(b, 0, 0, 0, 0), 1, 0)              // default exponent; modulus of 256 bytes
	d.AK = append(b, key.N.FillBytes(make([]byte, 256))...)
	d.ID = proto.DeviceID(d.AK)
	return nil
}

// Boot extends the PCRs with the events of a log, as firmware would have.
func (d *Device) Boot(log []byte) error {
	parsed, err := eventlog.Parse(log)
	if err != nil {
		return err
	}
	values, err := parsed.Replay(d.Bank.Algorithm())
	if err != nil {
		return err
	}
	for _, i := range values.Present().Indices() {
		if err := d.Bank.Set(i, values.Value(i)); err != nil {
			return err
		}
	}
	return nil
}

// Measure extends PCR 10 with the entries of a list, as the kernel would have.
func (d *Device) Measure(list []byte) error {
	s := ima.NewScanner(list)
	for s.Scan() {
		digest, err := s.Entry().Digest(d.Bank.Algorithm(), ima.Recomputed)
		if err != nil {
			return err
		}
		if err := d.Bank.Extend(ima.PCR, digest); err != nil {
			return err
		}
	}
	return s.Err()
}

// Report answers a challenge. contents are the bytes that the evidence names by digest.
func (d *Device) Report(c *proto.Challenge) (message []byte, contents map[proto.Digest][]byte, err error) {
	contents = make(map[proto.Digest][]byte)
	claims := proto.Claims{Agent: "test", BootID: d.BootID[:]}
	platform, err := proto.Encode(&d.Platform)
	if err != nil {
		return nil, nil, err
	}
	if claims.Platform = (proto.Item{Unavailable: d.NoPlatform}); d.NoPlatform == nil {
		claims.Platform = proto.Item{Content: keep(contents, platform)}
	}
	if claims.Flash, err = d.flash(contents); err != nil {
		return nil, nil, err
	}
	claims.Tamper = d.Tamper
	none := &proto.Unavailable{Cause: proto.CauseNotFound, Reason: "not there"}
	if claims.BootLog = (proto.Item{Unavailable: none}); d.BootLog != nil {
		claims.BootLog = proto.Item{Content: keep(contents, d.BootLog)}
	}
	ev := proto.Evidence{Nonce: c.Nonce}
	if claims.IMA.Unavailable = none; d.IMA != nil {
		n, err := ima.Count(d.IMA)
		if err != nil {
			return nil, nil, err
		}
		claims.IMA = proto.IMAStatus{Count: uint64(n)}
		if ev.IMA, err = d.segment(c, contents); err != nil {
			return nil, nil, err
		}
	}
	if !d.Software {
		claims.Bank = uint16(d.Bank.Algorithm())
	}
	if d.ForgeClaims != nil {
		d.ForgeClaims(&claims)
	}
	if ev.Claims, err = proto.Encode(&claims); err != nil {
		return nil, nil, err
	}
	if err := d.sign(&ev, c); err != nil {
		return nil, nil, err
	}
	message, err = proto.Encode(&ev)
	return message, contents, err
}

func (d *Device) flash(contents map[proto.Digest][]byte) (*proto.FlashStatus, error) {
	switch {
	case d.NoFlash != nil:
		return &proto.FlashStatus{Regions: proto.Item{Unavailable: d.NoFlash}}, nil
	case d.RawFlash != nil:
		return &proto.FlashStatus{Regions: proto.Item{Content: keep(contents, d.RawFlash)}, Age: d.FlashAge}, nil
	case d.Flash == nil:
		return nil, nil
	}
	b, err := proto.Encode(d.Flash)
	if err != nil {
		return nil, err
	}
	return &proto.FlashStatus{Regions: proto.Item{Content: keep(contents, b)}, Age: d.FlashAge}, nil
}

func keep(contents map[proto.Digest][]byte, b []byte) *proto.Content {
	d := proto.Sum(b)
	contents[d] = b
	return &proto.Content{Digest: d, Size: uint32(len(b))}
}

func (d *Device) segment(c *proto.Challenge, contents map[proto.Digest][]byte) (*proto.IMASegment, error) {
	from := uint64(0)
	if string(c.BootID) == string(d.BootID[:]) {
		from = c.IMAFrom
	}
	at, err := ima.Skip(d.IMA, int(from))
	if err != nil {
		return nil, err
	}
	n, err := ima.Count(d.IMA[at:])
	if err != nil {
		return nil, err
	}
	s := &proto.IMASegment{From: from, Count: uint64(n)}
	if n > 0 {
		s.Part = *keep(contents, d.IMA[at:])
	}
	return s, nil
}

// sign quotes like TPM2_Quote (TPM 2.0 Part 3, section 18.4), or signs like a device without a TPM.
func (d *Device) sign(ev *proto.Evidence, c *proto.Challenge) error {
	d.Clock += 1000
	qualifying := proto.QualifyingData(ev.Nonce, ev.Claims)
	if d.Software {
		message := proto.SoftwareMessage(qualifying)
		var err error
		ev.Signature, err = ecdsa.SignASN1(rand.Reader, d.Key, message[:])
		return err
	}
	selection := pcr.Selection(c.PCRs)
	digest, err := d.Bank.Composite(selection, pcr.SHA256.Hash())
	if err != nil {
		return err
	}
	ev.Quote = d.attest(qualifying[:], selection, digest)
	if d.Forge != nil {
		ev.Quote = d.Forge(ev.Quote)
	}
	d.values(ev, c)
	ev.Signature, err = d.signature(sha256.Sum256(ev.Quote))
	return err
}

// signature returns a TPMT_SIGNATURE (Part 2, section 11.3.4).
func (d *Device) signature(sum [sha256.Size]byte) ([]byte, error) {
	if d.RSA != nil {
		sig, err := rsa.SignPKCS1v15(nil, d.RSA, crypto.SHA256, sum[:])
		return append([]byte{0x00, 0x14, 0x00, 0x0b, 1, 0}, sig...), err // TPM_ALG_RSASSA, TPM_ALG_SHA256
	}
	r, s, err := ecdsa.Sign(rand.Reader, d.Key, sum[:])
	if err != nil {
		return nil, err
	}
	out := []byte{0x00, 0x18, 0x00, 0x0b} // TPM_ALG_ECDSA, TPM_ALG_SHA256
	for _, v := range [][]byte{r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))} {
		out = append(binary.BigEndian.AppendUint16(out, 32), v...)
	}
	return out, nil
}

// values sends the PCR values that the verifier does not have: those that changed since the newest report, if the challenge
// says that it knows that one, else all.
func (d *Device) values(ev *proto.Evidence, c *proto.Challenge) {
	known := d.sent
	if known != nil && (c.PCRBase == nil || known.Algorithm() != d.Bank.Algorithm() ||
		!bytes.Equal(c.PCRBase, proto.PCRBase(uint16(known.Algorithm()), c.PCRs, known.Value))) {
		known = nil
	}
	if known != nil {
		ev.PCRBase = c.PCRBase
	}
	for _, i := range pcr.Selection(c.PCRs).Indices() {
		if v := d.Bank.Value(i); known == nil || !bytes.Equal(known.Value(i), v) {
			if ev.PCRs == nil {
				ev.PCRs = make(map[uint32][]byte)
			}
			ev.PCRs[uint32(i)] = v
		}
	}
	d.sent = d.Bank.Clone()
}

// attest returns a TPMS_ATTEST (Part 2, section 10.12.12).
func (d *Device) attest(extra []byte, selection pcr.Selection, digest []byte) []byte {
	name := sha256.Sum256(d.AK)
	qualified := sha256.Sum256(append([]byte{0x40, 0, 0, 0x0b, 0, 0x0b}, name[:]...))
	sized := func(b, v []byte) []byte { return append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...) }
	b := []byte{0xff, 'T', 'C', 'G', 0x80, 0x18}
	b = sized(b, append([]byte{0, 0x0b}, qualified[:]...))
	b = sized(b, extra)
	b = binary.BigEndian.AppendUint64(b, d.Clock)
	b = binary.BigEndian.AppendUint32(b, d.Resets)
	b = binary.BigEndian.AppendUint32(b, d.Restarts)
	safe := byte(1)
	if d.Unsafe {
		safe = 0
	}
	b = append(b, safe)
	b = binary.BigEndian.AppendUint64(b, 0x2023_0101_0000_0000)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(d.Bank.Algorithm()))
	b = append(append(b, 3), selection.Bytes()...)
	return sized(b, digest)
}

// public returns the TPMT_PUBLIC of a restricted P-256 signing key.
func public(key *ecdsa.PublicKey) ([]byte, error) {
	point, err := key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	b := []byte{0x00, 0x23, 0x00, 0x0b} // ECC, SHA-256
	b = binary.BigEndian.AppendUint32(b, 0x00050072)
	b = append(b, 0, 0)                                        // no policy
	b = append(b, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 0x03, 0, 0x10) // no symmetric; ECDSA SHA-256; P-256; no KDF
	b = append(append(b, 0, 32), point[1:33]...)
	return append(append(b, 0, 32), point[33:]...), nil
}
