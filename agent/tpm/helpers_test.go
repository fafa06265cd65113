package tpm_test

import (
	"crypto"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
)

// hook stands between this package and a real swtpm: before may answer a command itself, after sees every response.
type hook struct {
	transport.TPM
	mu     sync.Mutex
	before func(code tpm2.TPMCC, command []byte) (response []byte)
	after  func(code tpm2.TPMCC, response []byte) []byte
}

func (h *hook) Send(command []byte) ([]byte, error) {
	h.mu.Lock()
	before, after := h.before, h.after
	h.mu.Unlock()
	code := tpm2.TPMCC(binary.BigEndian.Uint32(command[6:]))
	if before != nil {
		if rsp := before(code, command); rsp != nil {
			return rsp, nil
		}
	}
	rsp, err := h.TPM.Send(command)
	if err == nil && after != nil {
		rsp = after(code, rsp)
	}
	return rsp, err
}

func (h *hook) set(before func(tpm2.TPMCC, []byte) []byte, after func(tpm2.TPMCC, []byte) []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before, h.after = before, after
}

// response is a TPM's answer that is only a response code.
func response(rc tpm2.TPMRC) []byte {
	return binary.BigEndian.AppendUint32([]byte{0x80, 1, 0, 0, 0, 10}, uint32(rc))
}

// hideCurves makes a TPM look as if it had no elliptic curves: its list of curves is empty, and it makes no such key.
func hideCurves(code tpm2.TPMCC, command []byte) []byte {
	switch {
	case code == tpm2.TPMCCGetCapability && binary.BigEndian.Uint32(command[10:]) == uint32(tpm2.TPMCapECCCurves):
		return append(response(0)[:0:0], 0x80, 1, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0)
	case code == tpm2.TPMCCCreatePrimary && binary.BigEndian.Uint16(command[14+4+9+6+2:]) == uint16(tpm2.TPMAlgECC):
		return response(tpm2.TPMRCCurve)
	}
	return nil
}

func newTPM(t *testing.T, tr transport.TPM) *tpm.TPM {
	t.Helper()
	d, err := tpm.New(tr)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func newCA(t *testing.T) *tpmtest.CA {
	t.Helper()
	ca, err := tpmtest.NewCA("Test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// loaded returns how many transient objects the TPM holds.
func loaded(t *testing.T, tr transport.TPM) int {
	t.Helper()
	return len(handles(t, tr, 0x80000000))
}

func handles(t *testing.T, tr transport.TPM, first uint32) []tpm2.TPMHandle {
	t.Helper()
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 32}.Execute(tr)
	if err != nil {
		t.Fatal(err)
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		t.Fatal(err)
	}
	return list.Handle
}

const crypto256 = crypto.SHA256
