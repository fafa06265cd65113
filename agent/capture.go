package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// Capture implements link.Capturer: the raw bytes of a flash region, if the owner's charter says that they may leave, and
// at their end the device's signature over what they are.
func (r *reporter) Capture(ctx context.Context, m *proto.CaptureRequest, send func(*proto.CaptureUp) error) error {
	if un := r.charter.FlashContent(m.Region); un != nil {
		return un
	}
	if r.flash == nil {
		return &proto.Unavailable{Cause: proto.CauseNoSupport, Reason: "this agent is configured to read no flash memory"}
	}
	statement, err := r.flash.Capture(ctx, m, send)
	if err != nil {
		return err
	}
	if statement.BootID, err = r.collect.BootID(); err != nil {
		return fmt.Errorf("boot id: %w", err)
	}
	end, err := r.signCapture(m, statement)
	if err != nil {
		return err
	}
	return send(&proto.CaptureUp{End: end})
}

// signCapture has the device's key say that it is this device that says so.
func (r *reporter) signCapture(m *proto.CaptureRequest, statement *proto.CaptureStatement) (*proto.CaptureEnd, error) {
	encoded, err := proto.Encode(statement)
	if err != nil {
		return nil, err
	}
	end := &proto.CaptureEnd{Statement: encoded}
	qualifying := proto.CaptureQualifyingData(m.Nonce, encoded)
	if r.tpm == nil {
		digest := proto.SoftwareMessage(qualifying)
		end.Signature, err = ecdsa.SignASN1(rand.Reader, r.key.key, digest[:])
		return end, err
	}
	bank, err := r.bank(&proto.Challenge{Banks: m.Banks})
	if err != nil {
		return nil, err
	}
	end.Quote, end.Signature, _, err = r.tpm.QuoteAndRead(bank, pcr.Selection(m.PCRs), qualifying[:])
	return end, err
}
