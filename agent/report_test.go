package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/agent/charter"
	"github.com/probity-attest/probity/agent/collect"
	"github.com/probity-attest/probity/agent/link"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

var (
	_ link.Device   = (*tpmDevice)(nil)
	_ link.Device   = (*softwareDevice)(nil)
	_ link.Attester = (*reporter)(nil)
)

const (
	bootLogFile = "sys/kernel/security/tpm0/binary_bios_measurements"
	imaFile     = "sys/kernel/security/ima/binary_runtime_measurements"
	bootIDFile  = "proc/sys/kernel/random/boot_id"
)

var bootID = []byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}

// machine is a root directory with what a collector reads.
type machine struct {
	t    *testing.T
	root string
	list ima.Builder
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	m.write(bootIDFile, []byte("01234567-89ab-cdef-0123-456789abcdef\n"))
	m.write(bootLogFile, []byte("not a log: the agent does not judge"))
	m.write("sys/class/dmi/id/sys_vendor", []byte("Acme\n"))
	m.write("sys/class/dmi/id/product_name", []byte("R7\n"))
	m.measure("/bin/init")
	return m
}

func (m *machine) write(name string, content []byte) {
	m.t.Helper()
	name = filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// measure appends to the IMA list and returns the new entries.
func (m *machine) measure(paths ...string) []byte {
	m.t.Helper()
	before := len(m.list.Bytes())
	for _, p := range paths {
		d := sha256.Sum256([]byte(p))
		if err := m.list.Append(ima.Measurement{Path: p, Algorithm: pcr.SHA256, Digest: d[:]}); err != nil {
			m.t.Fatal(err)
		}
	}
	m.write(imaFile, m.list.Bytes())
	return m.list.Bytes()[before:]
}

func open(t *testing.T, cfg Config) *Agent {
	t.Helper()
	a, err := Open(cfg, "1.2.3", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func tpmAgent(t *testing.T, m *machine, o tpmtest.Options) (*Agent, *tpmtest.Swtpm) {
	t.Helper()
	s := tpmtest.Start(t, o)
	cfg := Default()
	cfg.TPM, cfg.Root, cfg.StateDir = s.Socket, m.root, t.TempDir()
	return open(t, cfg), s
}

func challenge(from uint64) *proto.Challenge {
	c := &proto.Challenge{
		Nonce: bytes.Repeat([]byte{7}, proto.NonceSize), Banks: []uint16{uint16(pcr.SHA256), uint16(pcr.SHA384)},
		PCRs: uint32(pcr.Select(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)), Lifetime: 60,
	}
	if from > 0 {
		c.BootID, c.IMAFrom = bootID, from
	}
	return c
}

// checked decodes a report and proves that the TPM signed it.
func checked(t *testing.T, a *Agent, c *proto.Challenge, known *pcr.Bank) (*link.Report, proto.Evidence, proto.Claims, *pcr.Bank) {
	t.Helper()
	r, err := a.report.Report(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var e proto.Evidence
	var claims proto.Claims
	if err := errors.Join(proto.Decode(r.Evidence, &e), proto.Decode(e.Claims, &claims)); err != nil {
		t.Fatal(err)
	}
	attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](e.Quote)
	if err != nil {
		t.Fatal(err)
	}
	if want := proto.QualifyingData(c.Nonce, e.Claims); !bytes.Equal(attest.ExtraData.Buffer, want[:]) {
		t.Error("quote does not bind nonce and claims")
	}
	quoted, err := attest.Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	bank := pcr.NewBank(pcr.Algorithm(claims.Bank))
	if len(e.PCRBase) > 0 {
		bank = known.Clone()
	}
	for i, v := range e.PCRs {
		if err := bank.Set(int(i), v); err != nil {
			t.Fatal(err)
		}
	}
	composite, err := bank.Composite(pcr.Selection(c.PCRs), pcr.SHA256.Hash())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(composite, quoted.PCRDigest.Buffer) {
		t.Error("PCR values do not give the quoted digest")
	}
	return r, e, claims, bank
}

func TestReport(t *testing.T) {
	m := newMachine(t)
	a, s := tpmAgent(t, m, tpmtest.Options{})
	tp := s.Transport(t)
	if err := tpmtest.Measure(tp, 10, []byte("init")); err != nil {
		t.Fatal(err)
	}

	// First contact: everything.
	c := challenge(0)
	r, e, claims, bank := checked(t, a, c, nil)
	if len(e.PCRs) != 11 || len(e.PCRBase) != 0 {
		t.Errorf("first evidence has %d PCRs, base %x, want all 11 and none", len(e.PCRs), e.PCRBase)
	}
	if claims.Agent != "1.2.3" || !bytes.Equal(claims.BootID, bootID) || claims.Bank != uint16(pcr.SHA256) || claims.IMA.Count != 1 {
		t.Errorf("claims = %+v", claims)
	}
	if e.IMA == nil || e.IMA.From != 0 || e.IMA.Count != 1 {
		t.Fatalf("IMA segment = %+v, want the one entry", e.IMA)
	}
	for _, want := range []*proto.Content{claims.BootLog.Content, claims.Platform.Content, &e.IMA.Part} {
		b, err := r.Content(t.Context(), want.Digest)
		if err != nil || proto.Sum(b) != want.Digest || len(b) != int(want.Size) {
			t.Errorf("content %s: %d bytes, %v", want.Digest, len(b), err)
		}
	}
	if _, err := r.Content(t.Context(), proto.Digest{1}); err == nil {
		t.Error("content that was never named was served")
	}
	var p proto.Platform
	b, err := r.Content(t.Context(), claims.Platform.Content.Digest)
	if err := errors.Join(err, proto.Decode(b, &p)); err != nil || p.Vendor != "Acme" || p.Model != "R7" {
		t.Errorf("platform = %+v, %v", p, err)
	}
	r.Accepted()

	// Steady state: nothing changed but one file run. Evidence is small.
	fresh := m.measure("/bin/sh")
	if err := tpmtest.Measure(tp, 10, []byte("sh")); err != nil {
		t.Fatal(err)
	}
	c = challenge(1)
	c.PCRBase = proto.PCRBase(uint16(pcr.SHA256), c.PCRs, bank.Value)
	r, e, claims, bank = checked(t, a, c, bank)
	if len(e.PCRs) != 1 || e.PCRs[10] == nil || !bytes.Equal(e.PCRBase, c.PCRBase) {
		t.Errorf("evidence repeats PCRs %v with base %x, want PCR 10 only", e.PCRs, e.PCRBase)
	}
	if e.IMA.From != 1 || e.IMA.Count != 1 || e.IMA.Part.Digest != proto.Sum(fresh) || claims.IMA.Count != 2 {
		t.Errorf("IMA segment = %+v of %d entries, want the new one", e.IMA, claims.IMA.Count)
	}
	if n := len(r.Evidence); n >= 600 {
		t.Errorf("steady-state evidence has %d bytes, want under 600", n)
	}
	t.Logf("steady-state evidence: %d bytes", len(r.Evidence))

	// The second report was not accepted, so its values are no base; another boot, or a list shorter than the verifier
	// thinks, starts again.
	c = challenge(2)
	c.PCRBase = proto.PCRBase(uint16(pcr.SHA256), c.PCRs, bank.Value)
	_, e, _, _ = checked(t, a, c, nil)
	if len(e.PCRs) != 11 {
		t.Errorf("evidence over an unknown base has %d PCRs, want 11", len(e.PCRs))
	}
	if e.IMA == nil || e.IMA.From != 2 || e.IMA.Count != 0 {
		t.Errorf("IMA segment = %+v, want the empty one from entry 2", e.IMA)
	}
	for _, change := range []func(*proto.Challenge){
		func(c *proto.Challenge) { c.BootID = make([]byte, proto.BootIDSize) },
		func(c *proto.Challenge) { c.IMAFrom = 1000 },
	} {
		c = challenge(1)
		change(c)
		if _, e, _, _ = checked(t, a, c, nil); e.IMA.From != 0 || e.IMA.Count != 2 {
			t.Errorf("IMA segment = %+v, want the whole list", e.IMA)
		}
	}
}

func TestReportWithoutLogs(t *testing.T) {
	m := newMachine(t)
	for _, f := range []string{bootLogFile, imaFile} {
		if err := os.Remove(filepath.Join(m.root, f)); err != nil {
			t.Fatal(err)
		}
	}
	a, _ := tpmAgent(t, m, tpmtest.Options{})
	_, e, claims, _ := checked(t, a, challenge(0), nil)
	if un := claims.BootLog.Unavailable; un == nil || un.Reason == "" {
		t.Errorf("boot log = %+v, want a reason", claims.BootLog)
	}
	if un := claims.IMA.Unavailable; un == nil || un.Reason == "" || e.IMA != nil {
		t.Errorf("IMA = %+v, segment %+v, want a reason and none", claims.IMA, e.IMA)
	}
}

func TestBanks(t *testing.T) {
	m := newMachine(t)
	a, _ := tpmAgent(t, m, tpmtest.Options{Banks: []pcr.Algorithm{pcr.SHA384}})
	if _, _, claims, _ := checked(t, a, challenge(0), nil); claims.Bank != uint16(pcr.SHA384) {
		t.Errorf("bank = %#x, want SHA-384, which alone is active", claims.Bank)
	}
	a, _ = tpmAgent(t, m, tpmtest.Options{Banks: []pcr.Algorithm{pcr.SHA1}})
	_, err := a.report.Report(t.Context(), challenge(0))
	for _, part := range []string{"sha1", "sha256, sha384", "tpm2_pcrallocate"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("Report with a SHA-1 bank only = %v, want %q in it", err, part)
		}
	}
}

// TestSHA1Bank: a TPM that has nothing better is quoted in SHA-1 where the verifier offers it, and only then.
func TestSHA1Bank(t *testing.T) {
	m := newMachine(t)
	c := challenge(0)
	c.Banks = append(c.Banks, uint16(pcr.SHA1)) // as the last resort
	a, s := tpmAgent(t, m, tpmtest.Options{Banks: []pcr.Algorithm{pcr.SHA1}})
	if err := tpmtest.Measure(s.Transport(t), 10, []byte("init")); err != nil {
		t.Fatal(err)
	}
	_, e, claims, bank := checked(t, a, c, nil)
	if claims.Bank != uint16(pcr.SHA1) || len(e.PCRs) != 11 || len(e.PCRs[10]) != pcr.SHA1.Size() {
		t.Errorf("bank %#x, PCRs %x, want 11 values of SHA-1", claims.Bank, e.PCRs)
	}
	if bytes.Equal(bank.Value(10), make([]byte, pcr.SHA1.Size())) {
		t.Error("PCR 10 is zero after a measurement")
	}
	shown, err := a.Show(t.Context())
	if err != nil || shown.Bank != "sha1" || len(shown.PCRs) != pcr.Count {
		t.Errorf("Show = %+v, %v, want the SHA-1 bank", shown, err)
	}
	a, _ = tpmAgent(t, m, tpmtest.Options{Banks: []pcr.Algorithm{pcr.SHA1, pcr.SHA256}})
	if _, _, claims, _ := checked(t, a, c, nil); claims.Bank != uint16(pcr.SHA256) {
		t.Errorf("bank = %#x, want SHA-256, which is active and offered before SHA-1", claims.Bank)
	}
	a, _ = tpmAgent(t, m, tpmtest.Options{Banks: []pcr.Algorithm{pcr.SHA512}})
	if _, err := a.report.Report(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no PCR bank in common") {
		t.Errorf("Report with a SHA-512 bank only = %v, want an error", err)
	}
}

// vanishing is a machine whose IMA list disappears after the quote.
type vanishing struct{ collector }

func (vanishing) IMASegment(context.Context, uint64) ([]byte, uint64, *proto.Unavailable) {
	return nil, 0, &proto.Unavailable{Cause: proto.CauseIO, Reason: "gone"}
}

func TestListVanishesAfterTheQuote(t *testing.T) {
	a, _ := tpmAgent(t, newMachine(t), tpmtest.Options{})
	a.report.collect = vanishing{a.report.collect}
	_, e, claims, _ := checked(t, a, challenge(0), nil)
	if claims.IMA.Unavailable == nil || claims.IMA.Count != 0 || e.IMA != nil {
		t.Errorf("claims %+v, segment %+v: want the reason, signed", claims.IMA, e.IMA)
	}
}

func TestLargeSegmentIsReadAgain(t *testing.T) {
	m := newMachine(t)
	a, _ := tpmAgent(t, m, tpmtest.Options{})
	var paths []string
	for len(paths)*100 < 2*keepSegment {
		paths = append(paths, "/usr/lib/"+strings.Repeat("x", 40))
	}
	m.measure(paths...)
	r, e, _, _ := checked(t, a, challenge(0), nil)
	if e.IMA.Part.Size <= keepSegment {
		t.Fatalf("segment of %d bytes is too small for this test", e.IMA.Part.Size)
	}
	m.measure("/bin/later") // the list has grown since
	b, err := r.Content(t.Context(), e.IMA.Part.Digest)
	if err != nil || proto.Sum(b) != e.IMA.Part.Digest {
		t.Errorf("segment read again: %d bytes, %v, another digest", len(b), err)
	}
}

func TestCharterWithholds(t *testing.T) {
	m := newMachine(t)
	file := filepath.Join(t.TempDir(), "charter.yaml")
	if err := os.WriteFile(file, []byte("allow: [platform.model]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := tpmtest.Start(t, tpmtest.Options{})
	cfg := Default()
	cfg.TPM, cfg.Root, cfg.StateDir, cfg.Charter = s.Socket, m.root, t.TempDir(), file
	a := open(t, cfg)
	r, e, claims, _ := checked(t, a, challenge(0), nil)
	for name, un := range map[string]*proto.Unavailable{"boot log": claims.BootLog.Unavailable, "IMA": claims.IMA.Unavailable} {
		if un == nil || un.Cause != proto.CauseNotAllowed {
			t.Errorf("%s = %v, want not-allowed", name, un)
		}
	}
	if e.IMA != nil {
		t.Error("IMA segment left the device against the charter")
	}
	b, err := r.Content(t.Context(), claims.Platform.Content.Digest)
	var p proto.Platform
	if err := errors.Join(err, proto.Decode(b, &p)); err != nil || p.Model != "R7" || p.Vendor != "" {
		t.Errorf("platform = %+v, %v, want the model only", p, err)
	}
	hello, err := a.device.Hello(t.Context())
	var h proto.Hello
	if err := errors.Join(err, proto.Decode(hello, &h)); err != nil || h.Platform.Vendor != "" || h.Platform.Model != "R7" {
		t.Errorf("hello tells %+v, %v, want the model only", h.Platform, err)
	}
	if !bytes.Contains(hello, []byte("R7")) || bytes.Contains(hello, []byte("Acme")) {
		t.Error("hello has the vendor's name in it")
	}
}

func TestSoftwareReport(t *testing.T) {
	m := newMachine(t)
	cfg := Default()
	cfg.Identity, cfg.Root, cfg.StateDir, cfg.TPM = IdentitySoftware, m.root, t.TempDir(), "/nonexistent"
	a := open(t, cfg)
	c := challenge(0)
	r, err := a.report.Report(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var e proto.Evidence
	var claims proto.Claims
	if err := errors.Join(proto.Decode(r.Evidence, &e), proto.Decode(e.Claims, &claims)); err != nil {
		t.Fatal(err)
	}
	digest := proto.SoftwareMessage(proto.QualifyingData(c.Nonce, e.Claims))
	if !ecdsa.VerifyASN1(&a.report.key.key.PublicKey, digest[:], e.Signature) {
		t.Error("signature does not verify")
	}
	want := &proto.Unavailable{Cause: proto.CauseNoSupport, Reason: "without a TPM nothing proves an IMA list"}
	if diff := cmp.Diff(want, claims.IMA.Unavailable); diff != "" || claims.Bank != 0 || e.Quote != nil {
		t.Errorf("claims %+v, quote %x: %s", claims, e.Quote, diff)
	}
	if again := open(t, cfg); again.ID() != a.ID() {
		t.Error("device has another id after a restart")
	}
	hello, err := a.device.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := a.device.Answer(t.Context(), hello, &proto.EnrollChallenge{Nonce: c.Nonce})
	if err != nil {
		t.Fatal(err)
	}
	proof := proto.EnrollMessage(c.Nonce, hello)
	if !ecdsa.VerifyASN1(&a.report.key.key.PublicKey, proof[:], answer) {
		t.Error("enrolment answer does not verify")
	}
}

func TestTPMHello(t *testing.T) {
	a, _ := tpmAgent(t, newMachine(t), tpmtest.Options{})
	b, err := a.device.Hello(t.Context())
	var h proto.Hello
	if err := errors.Join(err, proto.Decode(b, &h)); err != nil {
		t.Fatal(err)
	}
	if h.DeviceID() != a.ID() || h.AK == nil || h.TLS == nil || h.Platform.Model != "R7" {
		t.Errorf("hello = %+v", h)
	}
	if _, err := a.device.Answer(t.Context(), b, &proto.EnrollChallenge{Nonce: make([]byte, 32)}); err == nil {
		t.Error("a challenge without credential was answered")
	}
}

func TestReporterUsesTheSmallestInterfaces(t *testing.T) {
	var _ collector = (*collect.Collector)(nil)
	var nobody *charter.Charter
	if nobody.String() != "everything but the raw content of flash memory" {
		t.Errorf("no charter allows %q", nobody)
	}
}
