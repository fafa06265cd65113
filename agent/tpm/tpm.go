// Package tpm makes a TPM 2.0 an Attester's root of trust: its endorsement key (EK) names the device, an attestation
// key (AK) quotes PCRs, a TLS key authenticates connections, and credential activation proves that the three share a
// TPM.
//
// AK and TLS key are primaries of the endorsement hierarchy, made from fixed templates. The TPM derives them from its
// seed whenever they are asked for, so no key and no state is ever on disk. Keys of this hierarchy also see resetCount
// and restartCount as they are, not obfuscated (Part 1, section 36.7).
//
// It is written for the kernel's resource manager (/dev/tpmrm0) and works on a bare TPM or a swtpm socket too, where at
// most two of its objects are loaded between calls and a third during one. Commands that the TPM could not take are
// repeated for a bounded time. Keys that a power cycle or another program flushed are made again, and what a key signs
// is checked to be that key's. Methods are safe for concurrent use; one command sequence runs at a time.
//
// Limits: the endorsement hierarchy must be enabled and have no password. Keys are P-256, or RSA-2048 where the TPM
// lacks that curve. Endorsement keys are those of EndorsementProfiles.
//
// Sources: TPM 2.0 Library 1.59, Parts 1 to 3 (cited as such); TCG EK Credential Profile 2.5; RFC 9683.
package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/probity-attest/probity/proto"
)

// Endorsement is what says which TPM this is.
type Endorsement struct {
	Public       []byte   // TPMT_PUBLIC of the endorsement key
	Certificates [][]byte // DER, the key's own first, then what the TPM holds of its chain; empty: the TPM has none
	Profile      string   // which of EndorsementProfiles it is
	// Notes say which certificates were found in the TPM and not used, and why.
	Notes []string
}

// TPM is a TPM with the keys of a Probity device. Make one with New.
type TPM struct {
	mu      sync.Mutex // one command sequence at a time
	dev     *sender
	done    chan struct{} // closed by Close
	closing sync.Once

	ek          endorsementKey
	endorsement Endorsement
	ak, tls     key
	hasECC      bool
}

// New finds the endorsement key of the TPM behind t and makes the device's keys. It does not own t: close it after
// Close. Errors wrap ErrTPM12 or ErrLockout where that is the cause.
func New(t transport.TPM) (*TPM, error) {
	done := make(chan struct{})
	out := &TPM{dev: &sender{dev: t, budget: retryBudget, done: done}, done: done}
	var err error
	if out.hasECC, err = out.hasCurve(tpm2.TPMECCNistP256); err != nil {
		return nil, err
	}
	template := rsaKey
	if out.hasECC {
		template = eccKey
	}
	out.ak = key{name: "attestation key", template: template(akLabel, true)}
	out.tls = key{name: "TLS key", template: template(tlsLabel, false)}
	if err := out.findEndorsement(); err != nil {
		return nil, err
	}
	if err := out.with(func() error { return nil }, &out.ak, &out.tls); err != nil {
		return nil, err
	}
	return out, nil
}

// Close flushes what is loaded. It ends a command that another goroutine is repeating; every later call is ErrClosed.
func (t *TPM) Close() error {
	t.closing.Do(func() { close(t.done) })
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.flush(&t.ak), t.flush(&t.tls))
}

// DeviceID returns the device's id: the lower-case hexadecimal SHA-256 of the endorsement key's TPMT_PUBLIC.
func (t *TPM) DeviceID() string { return proto.DeviceID(t.endorsement.Public) }

// Endorsement returns the endorsement key and its certificates.
func (t *TPM) Endorsement() Endorsement { return t.endorsement }

// hasCurve reads TPM_CAP_ECC_CURVES (Part 3, section 30.2). A TPM without elliptic curves lists none or refuses.
func (t *TPM) hasCurve(c tpm2.TPMECCCurve) (bool, error) {
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapECCCurves, Property: uint32(c), PropertyCount: 1}.Execute(t.dev)
	if errors.Is(err, tpm2.TPMRCValue) {
		return false, nil
	}
	if err != nil {
		return false, explain("read the TPM's curves", err)
	}
	list, err := rsp.CapabilityData.Data.ECCCurves()
	if err != nil {
		return false, fmt.Errorf("read the TPM's curves: %w", err)
	}
	return len(list.ECCCurves) > 0 && list.ECCCurves[0] == c, nil
}

// with runs fn, one command sequence, with the keys loaded. When the TPM is full it makes room once; when a key turns
// out to be gone (power cycle, flushed by another program) it is made again once.
func (t *TPM) with(fn func() error, keys ...*key) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	for range 3 {
		select {
		case <-t.done:
			return ErrClosed
		default:
		}
		if err = t.load(keys); err == nil {
			if err = fn(); err == nil {
				return nil
			}
		}
		switch {
		case full(err):
			t.makeRoom()
		case !t.dropLost(keys):
			return err
		}
	}
	return err
}

func (t *TPM) load(keys []*key) error {
	for _, k := range keys {
		if k.handle != 0 {
			continue
		}
		if err := t.create(k); err != nil {
			return err
		}
	}
	return nil
}

// dropLost forgets handles that no longer stand for their key, and reports whether there were any.
func (t *TPM) dropLost(keys []*key) bool {
	lost := false
	for _, k := range keys {
		if k.handle == 0 {
			continue
		}
		rsp, err := tpm2.ReadPublic{ObjectHandle: k.handle}.Execute(t.dev)
		var code tpm2.TPMRC
		if err != nil && !errors.As(err, &code) {
			return false // the way to the TPM is broken: nothing is known of its objects
		}
		if err != nil || !bytes.Equal(rsp.Name.Buffer, k.tpmName.Buffer) {
			k.handle = 0
			lost = true
		}
	}
	return lost
}

func (t *TPM) flush(k *key) error {
	if k.handle == 0 {
		return nil
	}
	_, err := tpm2.FlushContext{FlushHandle: k.handle}.Execute(&sender{dev: t.dev.dev, done: t.done})
	k.handle = 0
	if errors.Is(err, tpm2.TPMRCHandle) || errors.Is(err, tpm2.TPMRCReferenceH0) {
		return nil // gone already
	}
	if err != nil {
		return explain("flush "+k.name, err)
	}
	return nil
}
