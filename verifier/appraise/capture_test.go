package appraise_test

import (
	"bytes"
	"testing"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
)

// TestVerifyCapture flips every bit of what a device signs at the end of a capture: none of it may be altered (ATTACKS rows 2
// and 3).
func TestVerifyCapture(t *testing.T) {
	software, err := appraisetest.NewSoftware()
	if err != nil {
		t.Fatal(err)
	}
	elliptic, err := appraisetest.New(fixture(t, "eventlogs", "grub-secure-boot"), fixture(t, "ima", "grub-secure-boot"))
	if err != nil {
		t.Fatal(err)
	}
	rsa, err := appraisetest.New(fixture(t, "eventlogs", "grub-secure-boot"), fixture(t, "ima", "grub-secure-boot"))
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.UseRSA(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		d     *appraisetest.Device
		level result.Level
	}{
		"software": {software, result.Software}, "P-256": {elliptic, result.Certified}, "RSA": {rsa, result.Pinned},
	} {
		t.Run(name, func(t *testing.T) {
			m := &proto.CaptureRequest{Nonce: bytes.Repeat([]byte{1}, proto.NonceSize), PCRs: 0xff}
			want := &proto.CaptureStatement{Region: "bios", Source: "mtd:bios", Size: 1, BootID: make([]byte, proto.BootIDSize)}
			end, err := tt.d.EndCapture(m, want)
			if err != nil {
				t.Fatal(err)
			}
			id := appraise.Identity{AK: tt.d.AK, Level: tt.level}
			if got, err := appraise.VerifyCapture(id, m.Nonce, 0xff, end); err != nil || got.Region != want.Region {
				t.Fatalf("VerifyCapture = %+v, %v", got, err)
			}
			parts := map[string][]byte{"nonce": m.Nonce, "statement": end.Statement, "quote": end.Quote, "signature": end.Signature}
			for part, b := range parts {
				for bit := range 8 * len(b) {
					b[bit/8] ^= 1 << (bit % 8)
					if got, err := appraise.VerifyCapture(id, m.Nonce, 0xff, end); err == nil || got != nil {
						t.Errorf("bit %d of the %s flipped: VerifyCapture = %+v, %v", bit, part, got, err)
					}
					b[bit/8] ^= 1 << (bit % 8)
				}
			}
			other := id
			other.Level = result.Software
			if tt.level == result.Software {
				other.Level = result.Certified
			}
			if _, err := appraise.VerifyCapture(other, m.Nonce, 0xff, end); err == nil {
				t.Error("a signature of another kind of key verifies")
			}
			if tt.level == result.Software {
				end.Quote = []byte{1}
				if _, err := appraise.VerifyCapture(id, m.Nonce, 0xff, end); err == nil {
					t.Error("a quote of a device without a TPM is accepted")
				}
			}
		})
	}
}
