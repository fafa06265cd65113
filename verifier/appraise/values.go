package appraise

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/reference"
)

// ReferenceValues adds to b what a device that is trusted measured: the values of all quoted PCRs but IMA's with the
// events of the boot log that lead to them, Secure Boot, and the files of the IMA list. log and list may be nil. Both are
// verified against the quoted values again; reportOnly are PCRs whose change shall only be told.
func ReferenceValues(b *reference.Baseline, quotedPCRs *pcr.Bank, log, list []byte, reportOnly []int) error {
	alg := quotedPCRs.Algorithm()
	boot := quoted(quotedPCRs, pcr.All&^pcr.Select(ima.PCR))
	b.Bank = uint16(alg)
	for _, i := range boot.Present().Indices() {
		b.PCRs = append(b.PCRs, reference.Register{
			Index: i, Value: bytes.Clone(boot.Value(i)), ReportOnly: slices.Contains(reportOnly, i),
		})
	}
	if log != nil {
		if err := addEvents(b, boot, log); err != nil {
			return err
		}
	}
	if list == nil {
		return nil
	}
	seen := make(map[string]bool)
	_, _, err := ima.State{}.Advance(list, alg, quotedPCRs.Value(ima.PCR), func(e ima.Entry) {
		file, ok := e.File()
		if !ok || e.Violation() || file.Path == ima.BootAggregatePath {
			return
		}
		if key := file.Path + "\x00" + string(file.Digest); !seen[key] {
			seen[key] = true
			b.Files = append(b.Files, reference.File{Path: []byte(file.Path), Digest: bytes.Clone(file.Digest)})
		}
	})
	if err != nil {
		return fmt.Errorf("IMA list: %w", err)
	}
	return nil
}

func addEvents(b *reference.Baseline, boot *pcr.Bank, log []byte) error {
	claimed, err := eventlog.Parse(log)
	if err != nil {
		return err
	}
	verified, err := verify(claimed, boot)
	if err != nil {
		return err
	}
	if state, _ := verified.SecureBoot(); state != eventlog.SecureBootUnknown {
		on := state == eventlog.SecureBootOn
		b.Secure = &on
	}
	for _, e := range verified.Events() {
		k := slices.IndexFunc(b.PCRs, func(r reference.Register) bool { return r.Index == int(e.PCR) })
		if k < 0 {
			continue
		}
		b.PCRs[k].Events = append(b.PCRs[k].Events, reference.Event{
			Slot: e.Slot(), Digest: bytes.Clone(e.Digest(boot.Algorithm())), Note: e.Describe().String(),
		})
	}
	return nil
}
