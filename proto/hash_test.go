package proto

import (
	"bytes"
	"crypto/sha256"
	"testing"
)

// TestDomainTags computes every hash of the protocol again from its description in README.md.
func TestDomainTags(t *testing.T) {
	nonce, text := fill(1, NonceSize), []byte("claims")
	inner := sha256.Sum256(text)
	join := func(parts ...[]byte) Digest { return sha256.Sum256(bytes.Join(parts, nil)) }
	q := join([]byte("probity/v1/evidence\x00"), nonce, inner[:])
	for name, tt := range map[string]struct{ got, want Digest }{
		"qualifying data": {QualifyingData(nonce, text), q},
		"software":        {SoftwareMessage(q), join([]byte("probity/v1/software-evidence\x00"), q[:])},
		"TLS key":         {TLSKeyQualifyingData(text), join([]byte("probity/v1/tls-key\x00"), text)},
		"enrolment":       {EnrollMessage(nonce, text), join([]byte("probity/v1/software-enroll\x00"), nonce, inner[:])},
		"capture":         {CaptureQualifyingData(nonce, text), join([]byte("probity/v1/capture\x00"), nonce, inner[:])},
		"device id":       {Sum(text), sha256.Sum256(text)},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %s, want %s", name, tt.got, tt.want)
		}
	}
	if QualifyingData(nonce, text) == QualifyingData(nonce, []byte("claimt")) || (Digest{}).IsZero() == q.IsZero() {
		t.Error("hashes do not tell their inputs apart")
	}
}

func TestPCRBase(t *testing.T) {
	values := map[int][]byte{0: fill(0xaa, 32), 10: fill(0xbb, 32)}
	value := func(i int) []byte { return values[i] }
	want := sha256.Sum256(annotated(t, `
		000b      // TPM_ALG_SHA256
		00000401  // PCRs 0 and 10
		aa*32
		bb*32`))
	got := PCRBase(0x000b, 1<<10|1, value)
	if !bytes.Equal(got, want[:PCRBaseSize]) {
		t.Errorf("PCRBase = %x, want %x", got, want[:PCRBaseSize])
	}
	for name, other := range map[string][]byte{
		"bank":      PCRBase(0x000c, 1<<10|1, value),
		"selection": PCRBase(0x000b, 1, value),
		"value":     PCRBase(0x000b, 1<<10|1, func(i int) []byte { return fill(byte(i), 32) }),
	} {
		if bytes.Equal(got, other) || len(other) != PCRBaseSize {
			t.Errorf("another %s gives %x", name, other)
		}
	}
	if b := PCRBase(0x000b, 1<<11, value); b != nil {
		t.Errorf("PCRBase over an unknown value = %x, want nil", b)
	}
}
