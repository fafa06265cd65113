package appraisetest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// EndCapture signs a statement as the device's answer to a capture request.
func (d *Device) EndCapture(m *proto.CaptureRequest, s *proto.CaptureStatement) (*proto.CaptureEnd, error) {
	encoded, err := proto.Encode(s)
	if err != nil {
		return nil, err
	}
	end := &proto.CaptureEnd{Statement: encoded}
	qualifying := proto.CaptureQualifyingData(m.Nonce, encoded)
	if d.Software {
		message := proto.SoftwareMessage(qualifying)
		end.Signature, err = ecdsa.SignASN1(rand.Reader, d.Key, message[:])
		return end, err
	}
	selection := pcr.Selection(m.PCRs)
	digest, err := d.Bank.Composite(selection, pcr.SHA256.Hash())
	if err != nil {
		return nil, err
	}
	end.Quote = d.attest(qualifying[:], selection, digest)
	if d.Forge != nil {
		end.Quote = d.Forge(end.Quote)
	}
	end.Signature, err = d.signature(sha256.Sum256(end.Quote))
	return end, err
}
