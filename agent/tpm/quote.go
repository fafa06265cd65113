package tpm

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/firmware/pcr"
)

// Quote has the AK sign the selected PCRs of one bank with qualifying data of at most 34 bytes (TPM2_Quote; Part 3,
// section 18.4). It returns the raw TPMS_ATTEST and TPMT_SIGNATURE. An inactive bank is ErrNoBank.
func (t *TPM) Quote(alg pcr.Algorithm, sel pcr.Selection, qualifying []byte) (attest, signature []byte, err error) {
	if sel == 0 || sel&^pcr.All != 0 {
		return nil, nil, fmt.Errorf("quote: want a non-empty selection of PCRs 0 to %d, got %#x", pcr.Count-1, uint32(sel))
	}
	err = t.with(func() error {
		attest, signature, err = t.quote(alg, sel, qualifying)
		return err
	}, &t.ak)
	if err != nil {
		return nil, nil, err
	}
	return attest, signature, nil
}

func (t *TPM) quote(alg pcr.Algorithm, sel pcr.Selection, qualifying []byte) (attest, signature []byte, err error) {
	rsp, err := tpm2.Quote{
		SignHandle:     t.ak.auth(),
		QualifyingData: tpm2.TPM2BData{Buffer: qualifying},
		PCRSelect:      selection(alg, sel),
	}.Execute(t.dev)
	if err != nil {
		return nil, nil, explain("quote", err)
	}
	attest = rsp.Quoted.Bytes()
	if err := t.signedByAK(attest); err != nil {
		return nil, nil, err
	}
	quoted, _, err := quoteInfo(attest)
	if err != nil {
		return nil, nil, err
	}
	if want := tpm2.Marshal(selection(alg, sel)); !bytes.Equal(quoted, want) {
		return nil, nil, fmt.Errorf("quote: %w: %s: switch it on in the firmware's setup or with tpm2_pcrallocate", ErrNoBank, alg)
	}
	return attest, tpm2.Marshal(rsp.Signature), nil
}

// QuoteAndRead returns a quote together with the PCR values that it signs. Software extends PCRs at any time, so both
// are repeated until they agree; PCRs that never rest are ErrUnstable.
func (t *TPM) QuoteAndRead(alg pcr.Algorithm, sel pcr.Selection, qualifying []byte) (
	attest, signature []byte, values *pcr.Bank, err error,
) {
	for range maxReads {
		attest, signature, err := t.Quote(alg, sel, qualifying)
		if err != nil {
			return nil, nil, nil, err
		}
		values, err := t.ReadPCRs(alg, sel)
		if err != nil {
			return nil, nil, nil, err
		}
		composite, err := values.Composite(sel, crypto.SHA256)
		if err != nil {
			return nil, nil, nil, err
		}
		if _, digest, err := quoteInfo(attest); err != nil {
			return nil, nil, nil, err
		} else if bytes.Equal(digest, composite) {
			return attest, signature, values, nil
		}
	}
	return nil, nil, nil, fmt.Errorf("quote: %w (%d times)", ErrUnstable, maxReads)
}

func selection(alg pcr.Algorithm, sel pcr.Selection) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		{Hash: tpm2.TPMIAlgHash(alg), PCRSelect: sel.Bytes()},
	}}
}

// signedByAK checks that an attestation names the AK as its signer. Without a resource manager another program may
// flush the AK and load a key of its own under the same handle.
func (t *TPM) signedByAK(attest []byte) error {
	signer, _, err := splitAttest(attest)
	if err != nil {
		return err
	}
	if !bytes.Equal(signer, t.ak.qualifiedName()) {
		return fmt.Errorf("attestation was signed by another key than the AK: %w", errNeighbour)
	}
	return nil
}

var errNeighbour = errors.New("another program uses this TPM without a resource manager")

// certifies checks that an attestation of a creation or certification was signed by the AK and is about k: both kinds
// of attested data begin with the object's name (Part 2, sections 10.12.3 and 10.12.4).
func (t *TPM) certifies(attest []byte, k *key) error {
	if err := t.signedByAK(attest); err != nil {
		return err
	}
	_, attested, err := splitAttest(attest)
	if err != nil {
		return err
	}
	if name, _, ok := sized(attested); !ok || !bytes.Equal(name, k.tpmName.Buffer) {
		return fmt.Errorf("attestation is about another key than the %s: %w", k.name, errNeighbour)
	}
	return nil
}

// splitAttest returns qualifiedSigner and attested of a TPMS_ATTEST (Part 2, section 10.12.12).
func splitAttest(attest []byte) (signer, attested []byte, err error) {
	rest, ok := attest, len(attest) > 6
	if ok {
		signer, rest, ok = sized(rest[6:]) // behind magic and type
	}
	if ok {
		_, rest, ok = sized(rest) // extraData
	}
	const clockAndVersion = 17 + 8
	if !ok || len(rest) < clockAndVersion {
		return nil, nil, fmt.Errorf("attestation of %d bytes is cut short", len(attest))
	}
	return signer, rest[clockAndVersion:], nil
}

// quoteInfo returns the encoded TPML_PCR_SELECTION and pcrDigest of a quote (Part 2, section 10.12.1).
func quoteInfo(attest []byte) (quoted, digest []byte, err error) {
	_, info, err := splitAttest(attest)
	if err != nil {
		return nil, nil, err
	}
	short := fmt.Errorf("quote of %d bytes is cut short", len(attest))
	at := 4
	if len(info) < at {
		return nil, nil, short
	}
	for n := binary.BigEndian.Uint32(info); n > 0; n-- { // hash, sizeofSelect, pcrSelect
		if at+3 > len(info) || at+3+int(info[at+2]) > len(info) {
			return nil, nil, short
		}
		at += 3 + int(info[at+2])
	}
	digest, rest, ok := sized(info[at:])
	if !ok || len(rest) != 0 {
		return nil, nil, fmt.Errorf("quote of %d bytes has a wrong length", len(attest))
	}
	return info[:at], digest, nil
}

// sized splits a TPM2B off b.
func sized(b []byte) (content, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], true
}
