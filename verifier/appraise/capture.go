package appraise

import (
	"errors"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
)

// VerifyCapture checks that a device's key signed the statement at the end of a capture over this nonce, and returns the
// statement. The checks, in order: the statement's form; without a TPM the software key's signature; with one the AK's
// signature, then magic, type, signer, qualifying data, exactly these PCRs. That the
// statement fits the bytes is for the caller to check.
func VerifyCapture(identity Identity, nonce []byte, pcrs pcr.Selection, end *proto.CaptureEnd) (*proto.CaptureStatement, error) {
	statement := &proto.CaptureStatement{}
	if err := proto.Decode(end.Statement, statement); err != nil {
		return nil, err
	}
	qualifying := proto.CaptureQualifyingData(nonce, end.Statement)
	if identity.Level == result.Software {
		key, err := parseSoftwareKey(identity.AK)
		if err == nil {
			err = key.verifySoftware(qualifying, end.Signature)
		}
		if err == nil && len(end.Quote) > 0 {
			err = errors.New("a device without a TPM cannot quote PCRs")
		}
		if err != nil {
			return nil, err
		}
		return statement, nil
	}
	key, err := parseTPMKey(identity.AK)
	if err != nil {
		return nil, err
	}
	if err := key.verify(end.Quote, end.Signature); err != nil {
		return nil, err
	}
	q, err := parseQuote(end.Quote)
	if err != nil {
		return nil, fmt.Errorf("quote: %w", err)
	}
	switch {
	case string(q.signer) != string(key.qualified):
		return nil, errors.New("quote: signer is not the AK as a primary of the endorsement hierarchy")
	case string(q.extraData) != string(qualifying[:]):
		return nil, errors.New("quote: qualifying data does not bind this nonce and this statement")
	case q.selection != pcrs:
		return nil, fmt.Errorf("quote: PCRs %s, want exactly %s", q.selection, pcrs)
	}
	return statement, nil
}
