package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// headerSize is the size of a response header: tag, size, response code (Part 1, section 18.2).
const headerSize = 10

// tagTPM12 is TPM_TAG_RSP_COMMAND, with which a TPM 1.2 answers every command of a TPM 2.0.
const tagTPM12 = 0x00c4

// sender repeats a command that the TPM could not take at the moment: TPM_RC_RETRY, YIELDED, TESTING, NV_RATE and
// CANCELED mean that it was not executed (Part 2, section 6.6.3), so that the very same bytes may be sent again.
type sender struct {
	dev    transport.TPM
	budget time.Duration   // in which one command is repeated
	done   <-chan struct{} // ends all pauses
}

func (s *sender) Send(command []byte) ([]byte, error) {
	pause := retryFirst
	for start := time.Now(); ; pause = min(2*pause, retryMost) {
		rsp, err := s.dev.Send(command)
		if err != nil {
			return nil, err
		}
		if len(rsp) < headerSize {
			return nil, fmt.Errorf("response of %d bytes, want at least %d", len(rsp), headerSize)
		}
		if binary.BigEndian.Uint16(rsp) == tagTPM12 {
			return nil, fmt.Errorf("%w: want a TPM 2.0; some firmware can switch it, see its setup", ErrTPM12)
		}
		rc := tpm2.TPMRC(binary.BigEndian.Uint32(rsp[6:]))
		if !transient(rc) || time.Since(start)+pause > s.budget {
			return rsp, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.done:
			timer.Stop()
			return nil, ErrClosed
		}
	}
}

func transient(rc tpm2.TPMRC) bool {
	switch rc {
	case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate, tpm2.TPMRCCanceled:
		return true
	}
	return false
}

// full reports whether the TPM has no room for another object or session.
func full(err error) bool {
	for _, rc := range []tpm2.TPMRC{
		tpm2.TPMRCObjectMemory, tpm2.TPMRCObjectHandles, tpm2.TPMRCMemory,
		tpm2.TPMRCSessionMemory, tpm2.TPMRCSessionHandles, tpm2.TPMRCContextGap,
	} {
		if errors.Is(err, rc) {
			return true
		}
	}
	return false
}

// makeRoom flushes every transient object and session that this connection sees. Behind a resource manager those are
// only our own; without one they are leftovers of a program that ended without flushing, as nobody shares such a TPM.
func (t *TPM) makeRoom() {
	for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} { // transient, loaded and saved sessions
		handles, err := t.handles(first)
		if err != nil {
			continue
		}
		for _, h := range handles {
			_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(t.dev)
		}
	}
	t.ak.handle, t.tls.handle = 0, 0
}

// handles lists the TPM's handles of the type that first begins (TPM2_GetCapability, TPM_CAP_HANDLES).
func (t *TPM) handles(first uint32) ([]tpm2.TPMHandle, error) {
	var out []tpm2.TPMHandle
	for from := first; len(out) < maxHandles; {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: from, PropertyCount: maxHandles}.Execute(t.dev)
		if err != nil {
			return nil, explain("list handles", err)
		}
		list, err := rsp.CapabilityData.Data.Handles()
		if err != nil {
			return nil, fmt.Errorf("list handles: %w", err)
		}
		out = append(out, list.Handle...)
		if !rsp.MoreData || len(list.Handle) == 0 {
			break
		}
		from = uint32(list.Handle[len(list.Handle)-1]) + 1
	}
	return out, nil
}
