package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-attestation/attest"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// subject is a device with its references, appraised again and again.
type subject struct {
	device   *appraisetest.Device
	keys     *challenge.Keys
	policy   *appraise.Policy
	set      *reference.Set
	record   appraise.Record
	contents map[proto.Digest][]byte
	memo     *appraise.Memo
	now      time.Time
}

const tenant = "bench"

func newSubject(log, list []byte) (*subject, error) {
	d, err := appraisetest.New(log, list)
	if err != nil {
		return nil, err
	}
	keys, err := challenge.New(make([]byte, challenge.KeySize))
	if err != nil {
		return nil, err
	}
	base := reference.Baseline{Name: "bench", Tenant: tenant, Vendor: d.Platform.Vendor, Model: d.Platform.Model}
	if err := appraise.ReferenceValues(&base, d.Bank, log, list, nil); err != nil {
		return nil, err
	}
	return &subject{
		device: d, keys: keys, policy: appraise.DefaultPolicy().Seal(), set: reference.Compile([]reference.Baseline{base}),
		contents: map[proto.Digest][]byte{}, memo: &appraise.Memo{}, now: time.Now(),
	}, nil
}

// report lets the device answer a challenge.
func (s *subject) report() ([]byte, error) {
	s.now = s.now.Add(time.Second)
	c := &proto.Challenge{Nonce: s.keys.Issue(challenge.Evidence, tenant, s.device.ID, s.now), PCRs: uint32(s.policy.PCRs)}
	s.record.Ask(c, s.set, s.policy, s.now)
	message, contents, err := s.device.Report(c)
	for d, b := range contents {
		s.contents[d] = b
	}
	return message, err
}

// appraise does everything that a verifier does with an evidence message before it stores the outcome.
func (s *subject) appraise(message []byte) (appraise.Outcome, error) {
	claimed, err := appraise.Open(message, s.memo)
	if err != nil {
		return appraise.Outcome{}, err
	}
	nonce, err := s.keys.Check(challenge.Evidence, tenant, s.device.ID, claimed.Evidence.Nonce, s.now, time.Minute)
	if err != nil {
		return appraise.Outcome{}, err
	}
	out, err := appraise.Appraise(appraise.Input{
		Tenant: tenant, Device: s.device.ID, Claimed: claimed, Nonce: nonce,
		Identity: appraise.Identity{AK: s.device.AK, Level: result.Certified},
		Record:   s.record, References: s.set, Policy: s.policy, Now: s.now, Memo: s.memo,
		Content: func(d proto.Digest) ([]byte, bool) { b, ok := s.contents[d]; return b, ok },
	})
	if err == nil && out.Result.State != result.Trusted {
		err = fmt.Errorf("the device is %s: %v", out.Result.State, out.Result.Findings)
	}
	return out, err
}

// steady: an unchanged device, against the signature check that nobody can do without.
func steady(_ context.Context, testdata string) (*bench, error) {
	s, err := captured(testdata)
	if err != nil {
		return nil, err
	}
	first, err := s.report()
	if err != nil {
		return nil, err
	}
	out, err := s.appraise(first)
	if err != nil {
		return nil, err
	}
	s.record = out.Record
	message, err := s.report()
	if err != nil {
		return nil, err
	}
	verify, err := bareVerify()
	if err != nil {
		return nil, err
	}
	return &bench{
		name: "appraise-steady", reference: "ecdsa.Verify P-256", bar: "0.80 or more", theirs: verify,
		ours: func() error {
			out, err := s.appraise(message)
			if err != nil {
				return err
			}
			_, err = out.Record.Encode()
			return err
		},
		met: func(r row) bool { return r.Ratio >= 0.8 },
	}, nil
}

func captured(testdata string) (*subject, error) {
	log, err := os.ReadFile(filepath.Join(testdata, "eventlogs", "grub-secure-boot.bin"))
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Join(testdata, "ima", "grub-secure-boot.bin"))
	if err != nil {
		return nil, err
	}
	return newSubject(log, list)
}

func bareVerify() (func() error, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("quote"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	return func() error {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
			return errors.New("does not verify")
		}
		return nil
	}, nil
}

// firstSight: replay and appraisal of a boot log that was never seen, against go-attestation on the same log.
func firstSight(ctx context.Context, _ string) (*bench, error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/go-attestation").Output()
	if err != nil {
		return nil, fmt.Errorf("looking for go-attestation's test data: %w", err)
	}
	log, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "attest", "testdata", "ubuntu_2104_shielded_vm_no_secure_boot_eventlog"))
	if err != nil {
		return nil, err
	}
	parsed, err := eventlog.Parse(log)
	if err != nil {
		return nil, err
	}
	bank, err := parsed.Replay(pcr.SHA256)
	if err != nil {
		return nil, err
	}
	base := reference.Baseline{Name: "bench", Tenant: tenant}
	if err := appraise.ReferenceValues(&base, bank, log, nil, nil); err != nil {
		return nil, err
	}
	model, policy := reference.Compile([]reference.Baseline{base}).For("", "").At(time.Now()), appraise.DefaultPolicy().Seal()
	var pcrs []attest.PCR
	for _, i := range bank.Present().Indices() {
		pcrs = append(pcrs, attest.PCR{Index: i, Digest: bank.Value(i), DigestAlg: pcr.SHA256.Hash()})
	}
	return &bench{
		name: "bootlog-first-sight", reference: "go-attestation ParseEventLog+Verify", bar: "4.00 or more",
		ours: func() error {
			if f := appraise.Boot(bank, log, model, policy); len(f) > 0 {
				return fmt.Errorf("findings: %v", f)
			}
			return nil
		},
		theirs: func() error {
			l, err := attest.ParseEventLog(log)
			if err != nil {
				return err
			}
			_, err = l.Verify(pcrs)
			return err
		},
		met: func(r row) bool { return r.Ratio >= 4 },
	}, nil
}

const entries = 10_000

// imaList: evidence with an IMA list of 10,000 entries, each compared with references, against bare SHA-256 of the same
// template data and the same number of extends.
func imaList(_ context.Context, testdata string) (*bench, error) {
	list, err := longList()
	if err != nil {
		return nil, err
	}
	log, err := os.ReadFile(filepath.Join(testdata, "eventlogs", "uki.bin"))
	if err != nil {
		return nil, err
	}
	s, err := newSubject(log, list)
	if err != nil {
		return nil, err
	}
	message, err := s.report()
	if err != nil {
		return nil, err
	}
	return &bench{
		name: "ima-10k", unit: entries, reference: "bare SHA-256 of the same entries", bar: "under 1000 ns an entry",
		ours:   func() error { _, err := s.appraise(message); return err },
		theirs: func() error { return bareReplay(list) },
		met:    func(r row) bool { return r.PerEntryNS < 1000 },
	}, nil
}

func longList() ([]byte, error) {
	var b ima.Builder
	for i := range entries {
		digest := sha256.Sum256(fmt.Appendf(nil, "file %d", i))
		path := fmt.Sprintf("/usr/lib/x86_64-linux-gnu/package-%d/lib%d.so.%d", i%700, i, i%9)
		if err := b.Append(ima.Measurement{Path: path, Algorithm: pcr.SHA256, Digest: digest[:]}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func bareReplay(list []byte) error {
	var in [64]byte
	s := ima.NewScanner(list)
	for s.Scan() {
		e := sha256.Sum256(s.Entry().Data)
		copy(in[32:], e[:])
		v := sha256.Sum256(in[:])
		copy(in[:32], v[:])
	}
	return s.Err()
}
