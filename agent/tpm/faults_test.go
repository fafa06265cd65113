package tpm_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// works checks that every function of d works and that its keys are the given AK's.
func works(t *testing.T, d *tpm.TPM, when string) {
	t.Helper()
	before := t.Failed()
	ak, _ := checkKeys(t, d)
	attested, sig, err := d.Quote(pcr.SHA256, pcr.All, []byte("nonce"))
	if err != nil {
		t.Errorf("Quote %s: %v", when, err)
		return
	}
	verifyQuote(t, ak, attested, sig)
	checkTLS(t, d)
	if t.Failed() && !before {
		t.Errorf("the above was %s", when)
	}
}

func TestBusyTPM(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	for _, rc := range []tpm2.TPMRC{
		tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate, tpm2.TPMRCCanceled,
	} {
		h := &hook{TPM: s.Transport(t)}
		last := ""
		h.before = func(_ tpm2.TPMCC, command []byte) []byte { // every command is refused at first
			if string(command) == last {
				last = ""
				return nil
			}
			last = string(command)
			return response(rc)
		}
		works(t, newTPM(t, h), "while the TPM says "+rc.Error())
	}
}

func TestPowerCycle(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	d := s.TPM(t)
	id := d.DeviceID()
	for what, restart := range map[string]func() error{"power cycle": s.PowerCycle, "power loss": s.PowerLoss} {
		for name, call := range map[string]func() error{
			"AK":       func() error { _, err := d.AK(); return err },
			"TLSKey":   func() error { _, err := d.TLSKey(); return err },
			"Quote":    func() error { _, _, err := d.Quote(pcr.SHA256, pcr.All, nil); return err },
			"ReadPCRs": func() error { _, err := d.ReadPCRs(pcr.SHA256, pcr.All); return err },
			"Banks":    func() error { _, err := d.Banks(); return err },
		} {
			if err := restart(); err != nil {
				t.Fatal(err)
			}
			if err := call(); err != nil {
				t.Errorf("%s after a %s: %v", name, what, err)
			}
		}
		if err := restart(); err != nil {
			t.Fatal(err)
		}
		ak, err := d.AK()
		if err != nil {
			t.Fatal(err)
		}
		if err := restart(); err != nil {
			t.Fatal(err)
		}
		checkActivation(t, d, ak.Public)
		if err := restart(); err != nil {
			t.Fatal(err)
		}
		checkTLS(t, d)
		works(t, d, "after a "+what)
	}
	if s.TPM(t).DeviceID() != id {
		t.Error("the device has another id")
	}
}

// TestNeighbours has several programs use a TPM without a resource manager: they flush and replace each other's keys.
func TestNeighbours(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	tr := s.Transport(t)
	d := s.TPM(t)
	works(t, d, "alone")
	for range 3 { // another program ended without flushing: no room is left
		if _, err := (tpm2.CreatePrimary{
			PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
		}).Execute(tr); err != nil {
			break
		}
	}
	works(t, d, "with a full TPM")
	for _, h := range handles(t, tr, 0x80000000) {
		if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(tr); err != nil {
			t.Fatal(err)
		}
	}
	works(t, d, "after another program flushed everything")
	second := s.TPM(t)
	works(t, second, "as the second program")
	works(t, d, "beside a second program")
	// The second program's keys take the handles of the first in another order.
	for _, h := range handles(t, tr, 0x80000000) {
		if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(tr); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := second.TLSSigner().Sign(randReader{}, make([]byte, 32), crypto256); err != nil {
		t.Fatal(err)
	}
	works(t, d, "after its handles went to other keys")
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	works(t, second, "after the first program ended")
}

func TestFullOfSessions(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	d := s.TPM(t)
	for range 70 { // until the TPM refuses
		if _, _, err := tpm2.PolicySession(s.Transport(t), tpm2.TPMAlgSHA256, 16); err != nil {
			break
		}
	}
	works(t, d, "with a TPM full of sessions")
}

func TestConcurrentUse(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	d := s.TPM(t)
	ak, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 10 {
				if _, _, _, err := d.QuoteAndRead(pcr.SHA256, pcr.All, nil); err != nil {
					t.Errorf("QuoteAndRead: %v", err)
				}
			}
		})
		group.Go(func() { checkActivation(t, d, ak.Public) })
		group.Go(func() {
			if _, err := d.TLSSigner().Sign(randReader{}, make([]byte, 32), crypto256); err != nil {
				t.Errorf("Sign: %v", err)
			}
		})
	}
	group.Wait()
}

func TestLockout(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	if err := tpmtest.Manufacture(s.Transport(t), newCA(t), tpmtest.P384); err != nil {
		t.Fatal(err)
	}
	h := &hook{TPM: s.Transport(t)}
	d := newTPM(t, h)
	ak, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	h.set(func(c tpm2.TPMCC, _ []byte) []byte {
		if c == tpm2.TPMCCActivateCredential {
			return response(tpm2.TPMRCLockout)
		}
		return nil
	}, nil)
	id, enc := credential(t, d.Endorsement().Public, ak.Public, make([]byte, 32))
	if _, err := d.Activate(id, enc); !errors.Is(err, tpm.ErrLockout) || !strings.Contains(err.Error(), "dictionarylockout") {
		t.Errorf("Activate in lockout: %v, want ErrLockout and what to do", err)
	}
	if _, _, err := d.Quote(pcr.SHA256, pcr.All, nil); err != nil {
		t.Errorf("Quote in lockout: %v: the AK has noDA", err)
	}
	h.set(nil, nil)
	checkActivation(t, d, ak.Public)
}

// TestRealLockout lets somebody else guess a password until the TPM locks: quotes and TLS must go on.
func TestRealLockout(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	tr := s.Transport(t)
	d := s.TPM(t)
	template := tpm2.ECCSRKTemplate
	template.ObjectAttributes.NoDA = false
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(template),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: []byte("secret")},
		}},
	}.Execute(tr)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		_, err = tpm2.ECDHZGen{
			KeyHandle: tpm2.AuthHandle{Handle: rsp.ObjectHandle, Name: rsp.Name, Auth: tpm2.PasswordAuth([]byte("guess"))},
			InPoint:   tpm2.New2B(tpm2.TPMSECCPoint{}),
		}.Execute(tr)
		if errors.Is(err, tpm2.TPMRCLockout) {
			break
		}
	}
	if !errors.Is(err, tpm2.TPMRCLockout) {
		t.Fatalf("the TPM did not lock: %v", err)
	}
	works(t, d, "in lockout")
}

func TestClearErrors(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	old := func(tpm2.TPMCC, []byte) []byte { return []byte{0, 0xc4, 0, 0, 0, 10, 0, 0, 0, 0x1e} }
	if _, err := tpm.New(&hook{TPM: s.Transport(t), before: old}); !errors.Is(err, tpm.ErrTPM12) {
		t.Errorf("New on a TPM 1.2: %v, want ErrTPM12", err)
	}
	short := func(tpm2.TPMCC, []byte) []byte { return []byte{0x80, 1, 0} }
	if _, err := tpm.New(&hook{TPM: s.Transport(t), before: short}); err == nil {
		t.Error("New on a TPM that answers three bytes passed")
	}
	tr := s.Transport(t)
	change := func(from, to string) {
		_, err := tpm2.HierarchyChangeAuth{
			AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth([]byte(from))},
			NewAuth:    tpm2.TPM2BAuth{Buffer: []byte(to)},
		}.Execute(tr)
		if err != nil {
			t.Fatal(err)
		}
	}
	change("", "secret")
	if _, err := tpm.New(tr); err == nil || !strings.Contains(err.Error(), "has a password") {
		t.Errorf("New with an endorsement password: %v, want what to do", err)
	}
	change("secret", "")
	works(t, s.TPM(t), "after the password was cleared")
}

// TestChangedSeed: a TPM whose endorsement seed was replaced while the agent runs must not go on under the old id.
func TestChangedSeed(t *testing.T) {
	a, b := tpmtest.Start(t, tpmtest.Options{}), tpmtest.Start(t, tpmtest.Options{})
	h := &hook{TPM: a.Transport(t)}
	d := newTPM(t, h)
	h.TPM = b.Transport(t)
	if _, _, err := d.Quote(pcr.SHA256, pcr.All, nil); !errors.Is(err, tpm.ErrChanged) {
		t.Errorf("Quote with another seed: %v, want ErrChanged", err)
	}
	if got := loaded(t, h.TPM); got != 0 {
		t.Errorf("%d transient objects are left, want none", got)
	}
}

// TestWrongAnswers flips bytes of every response: nothing may panic, and no signature of another key is passed on.
func TestWrongAnswers(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	h := &hook{TPM: s.Transport(t)}
	d := newTPM(t, h)
	good, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	for at := range 160 {
		h.set(nil, func(_ tpm2.TPMCC, rsp []byte) []byte {
			rsp = bytes.Clone(rsp)
			if at < len(rsp) {
				rsp[at] ^= 0x41
			} else {
				rsp = rsp[:len(rsp)-1]
			}
			return rsp
		})
		_, _, _ = d.Quote(pcr.SHA256, pcr.All, nil)
		_, _ = d.ReadPCRs(pcr.SHA256, pcr.All)
		_, _ = d.Banks()
		_, _ = d.AK()
		_, _ = d.TLSSigner().Sign(randReader{}, make([]byte, 32), crypto256)
		if other, err := tpm.New(h); err == nil {
			_ = other.Close()
		}
	}
	h.set(nil, nil)
	again, err := d.AK()
	if err != nil || !bytes.Equal(good.Public, again.Public) {
		t.Errorf("AK after wrong answers: %v", err)
	}
	works(t, d, "after wrong answers")
}

// TestCloseEndsWaiting: Close does not wait for a TPM that is busy for ever.
func TestCloseEndsWaiting(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	h := &hook{TPM: s.Transport(t)}
	d := newTPM(t, h)
	busy := make(chan struct{}, 1)
	h.set(func(c tpm2.TPMCC, _ []byte) []byte {
		if c != tpm2.TPMCCQuote {
			return nil
		}
		select {
		case busy <- struct{}{}:
		default:
		}
		return response(tpm2.TPMRCRetry)
	}, nil)
	done := make(chan error, 1)
	go func() {
		_, _, err := d.Quote(pcr.SHA256, pcr.All, nil)
		done <- err
	}()
	<-busy
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-done; !errors.Is(err, tpm.ErrClosed) {
		t.Errorf("Quote: %v, want ErrClosed", err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if n := loaded(t, s.Transport(t)); n != 0 {
		t.Errorf("%d transient objects are left, want none", n)
	}
}
