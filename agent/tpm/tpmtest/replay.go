package tpmtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Errors of logs that a TPM cannot be brought to agree with.
var (
	ErrBank  = errors.New("log has no digest of an active PCR bank")
	ErrHCRTM = errors.New("log starts with a hardware core root of trust, whose measured bytes it does not hold")
)

// localityHCRTM is how PCR 0 ends before a H-CRTM measures into it (Part 1, section 34.3).
const localityHCRTM = 4

// ReplayLog cuts the power and boots the TPM as the log says: from its startup locality on, every event extended in
// every active bank of which the log has digests. Active banks that the log lacks stay as they are after a reset, since
// a digest made up for them would be no machine's. ErrHCRTM, as a TPM hashes what a H-CRTM measures itself, and ErrBank
// name its limits.
func (s *Swtpm) ReplayLog(log *eventlog.Log) error {
	b := Boot{Locality: log.StartupLocality()}
	skip := 0
	if b.Locality == localityHCRTM {
		b.Locality = 0
		var err error
		if b.HCRTM, skip, err = hcrtm(log); err != nil {
			return err
		}
	}
	if err := s.Boot(b); err != nil {
		return err
	}
	t, err := s.Open()
	if err != nil {
		return err
	}
	defer t.Close()
	return replay(t, log, skip)
}

// ReplayLog extends the TPM's PCRs by the log's events, in every active bank of which the log has digests. It does not
// restart the TPM: (*Swtpm).ReplayLog does, and starts it at the log's locality.
func ReplayLog(t transport.TPM, log *eventlog.Log) error { return replay(t, log, 0) }

func replay(t transport.TPM, log *eventlog.Log, skip int) error {
	active, err := activeBanks(t)
	if err != nil {
		return err
	}
	banks := slices.DeleteFunc(slices.Clone(log.Banks), func(a pcr.Algorithm) bool { return !slices.Contains(active, a) })
	if len(banks) == 0 {
		return fmt.Errorf("replay log: %w: it has %v, active are %v", ErrBank, log.Banks, active)
	}
	for i := range log.Events {
		e := &log.Events[i]
		if !e.Extends() || i < skip {
			continue
		}
		digests := make(map[pcr.Algorithm][]byte, len(banks))
		for _, a := range banks {
			if d := e.Digest(a); d != nil {
				digests[a] = d
			}
		}
		if err := Extend(t, int(e.PCR), digests); err != nil {
			return fmt.Errorf("replay log: event %d: %w", e.Number, err)
		}
	}
	return nil
}

// hcrtm returns what the H-CRTM measured and how many events that accounts for. Only where the event's data hashes to
// its digests are the measured bytes known.
func hcrtm(log *eventlog.Log) ([]byte, int, error) {
	for i := range log.Events {
		e := &log.Events[i]
		if !e.Extends() || e.PCR != 0 {
			continue
		}
		for _, a := range log.Banks {
			if a.Hash() == 0 {
				continue
			}
			h := a.New()
			h.Write(e.Data)
			if !bytes.Equal(h.Sum(nil), e.Digest(a)) {
				return nil, 0, fmt.Errorf("replay log: event %d: %w", e.Number, ErrHCRTM)
			}
		}
		return e.Data, i + 1, nil
	}
	return nil, 0, fmt.Errorf("replay log: %w", ErrHCRTM)
}

// Extend extends one PCR in the banks of digests (TPM2_PCR_Extend; Part 3, section 22.2).
func Extend(t transport.TPM, index int, digests map[pcr.Algorithm][]byte) error {
	var list []tpm2.TPMTHA
	for a, d := range digests {
		if len(d) != a.Size() {
			return fmt.Errorf("extend PCR %d: %w: want %d bytes for %s, got %d", index, pcr.ErrSize, a.Size(), a, len(d))
		}
		list = append(list, tpm2.TPMTHA{HashAlg: tpm2.TPMIAlgHash(a), Digest: d})
	}
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(index), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: list},
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("extend PCR %d: %w", index, err)
	}
	return nil
}

// Measure extends one PCR by the digests of data in every active bank, as firmware measures.
func Measure(t transport.TPM, index int, data []byte) error {
	active, err := activeBanks(t)
	if err != nil {
		return err
	}
	digests := make(map[pcr.Algorithm][]byte, len(active))
	for _, a := range active {
		if a.Hash() == 0 {
			continue
		}
		h := a.New()
		h.Write(data)
		digests[a] = h.Sum(nil)
	}
	return Extend(t, index, digests)
}

// ReplayIMA extends the PCRs of the entries of an IMA list in the kernel's binary format in every active bank, as a
// kernel with this mode does for banks other than SHA-1 (ima.Recomputed: Linux 5.8 and later).
func ReplayIMA(t transport.TPM, list []byte, m ima.Mode) error {
	active, err := activeBanks(t)
	if err != nil {
		return err
	}
	s := ima.NewScanner(list)
	for n := 0; s.Scan(); n++ {
		e := s.Entry()
		digests := make(map[pcr.Algorithm][]byte, len(active))
		for _, a := range active {
			if a.Hash() == 0 {
				continue
			}
			if digests[a], err = e.Digest(a, m); err != nil {
				return fmt.Errorf("replay IMA list: entry %d: %w", n, err)
			}
		}
		if err := Extend(t, int(e.PCR), digests); err != nil {
			return fmt.Errorf("replay IMA list: entry %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("replay IMA list: %w", err)
	}
	return nil
}

func activeBanks(t transport.TPM) ([]pcr.Algorithm, error) {
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapPCRs, PropertyCount: 1}.Execute(t)
	if err != nil {
		return nil, fmt.Errorf("list PCR banks: %w", err)
	}
	list, err := rsp.CapabilityData.Data.AssignedPCR()
	if err != nil {
		return nil, fmt.Errorf("list PCR banks: %w", err)
	}
	var out []pcr.Algorithm
	for _, s := range list.PCRSelections {
		if slices.ContainsFunc(s.PCRSelect, func(b byte) bool { return b != 0 }) {
			out = append(out, pcr.Algorithm(s.Hash))
		}
	}
	return out, nil
}
