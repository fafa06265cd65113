package tpm

import (
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Banks returns the active PCR banks (TPM_CAP_PCRS), in the TPM's order.
func (t *TPM) Banks() ([]pcr.Algorithm, error) {
	var out []pcr.Algorithm
	err := t.with(func() error {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapPCRs, PropertyCount: 1}.Execute(t.dev)
		if err != nil {
			return explain("list PCR banks", err)
		}
		list, err := rsp.CapabilityData.Data.AssignedPCR()
		if err != nil {
			return fmt.Errorf("list PCR banks: %w", err)
		}
		out = nil
		for _, s := range list.PCRSelections {
			for _, b := range s.PCRSelect {
				if b != 0 {
					out = append(out, pcr.Algorithm(s.Hash))
					break
				}
			}
		}
		return nil
	})
	return out, err
}

// ReadPCRs reads the selected PCRs of one bank at one moment: TPM2_PCR_Read returns at most eight at a time, so it
// starts over when the update counter moved meanwhile (Part 3, section 22.4). Errors wrap ErrNoBank or ErrUnstable.
func (t *TPM) ReadPCRs(alg pcr.Algorithm, sel pcr.Selection) (*pcr.Bank, error) {
	if sel&^pcr.All != 0 {
		return nil, fmt.Errorf("read PCRs: want PCRs 0 to %d, got %#x", pcr.Count-1, uint32(sel))
	}
	var bank *pcr.Bank
	err := t.with(func() error {
		for range maxReads {
			var err error
			if bank, err = t.readPCRs(alg, sel); bank != nil || err != nil {
				return err
			}
		}
		return fmt.Errorf("read PCRs: %w (%d times)", ErrUnstable, maxReads)
	})
	if err != nil {
		return nil, err
	}
	return bank, nil
}

// readPCRs returns nil where the PCRs changed between two commands.
func (t *TPM) readPCRs(alg pcr.Algorithm, sel pcr.Selection) (*pcr.Bank, error) {
	bank := pcr.NewBank(alg)
	var counter uint32
	for missing := sel; missing != 0; missing = sel &^ bank.Present() {
		rsp, err := tpm2.PCRRead{PCRSelectionIn: selection(alg, missing)}.Execute(t.dev)
		if err != nil {
			return nil, explain("read PCRs", err)
		}
		if bank.Present() != 0 && rsp.PCRUpdateCounter != counter {
			return nil, nil
		}
		counter = rsp.PCRUpdateCounter
		var got []int
		for _, s := range rsp.PCRSelectionOut.PCRSelections {
			if s.Hash != tpm2.TPMIAlgHash(alg) || len(s.PCRSelect) < 3 {
				continue
			}
			got = (pcr.Selection(s.PCRSelect[0]) | pcr.Selection(s.PCRSelect[1])<<8 | pcr.Selection(s.PCRSelect[2])<<16).Indices()
		}
		if len(got) == 0 {
			return nil, fmt.Errorf("read PCRs %s: %w: %s", missing, ErrNoBank, alg)
		}
		if len(got) != len(rsp.PCRValues.Digests) {
			return nil, fmt.Errorf("read PCRs: %d values for %d PCRs", len(rsp.PCRValues.Digests), len(got))
		}
		for k, i := range got {
			if err := bank.Set(i, rsp.PCRValues.Digests[k].Buffer); err != nil {
				return nil, fmt.Errorf("read PCRs: %w", err)
			}
		}
	}
	return bank, nil
}
