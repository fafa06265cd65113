package image

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io"
	"testing"

	"github.com/probity-attest/probity/verifier/e2e/boot/debian"
)

func newKey(tb testing.TB) *Key {
	tb.Helper()
	k, err := NewKey("Test")
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// TestSignature checks with the standard library what firmware checks: that the attributes are signed and that they
// name the content's digest.
func TestSignature(t *testing.T) {
	k := newKey(t)
	digest := sha256.Sum256([]byte("image"))
	der, err := signature(digest[:], k)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version    int
			Algorithms asn1.RawValue
			Content    struct {
				Type    asn1.ObjectIdentifier
				Content asn1.RawValue `asn1:"explicit,tag:0"`
			}
			Certificates asn1.RawValue
			Signers      []struct {
				Version            int
				Signer             asn1.RawValue
				DigestAlgorithm    asn1.RawValue
				Attributes         asn1.RawValue
				SignatureAlgorithm asn1.RawValue
				Signature          []byte
			} `asn1:"set"`
		} `asn1:"explicit,tag:0"`
	}
	if rest, err := asn1.Unmarshal(der, &got); err != nil || len(rest) != 0 {
		t.Fatalf("signature: %v, %d bytes behind it", err, len(rest))
	}
	signer := got.Content.Signers[0]
	set := bytes.Clone(signer.Attributes.FullBytes)
	set[0] = asn1.TagSet | 0x20
	sum := sha256.Sum256(set)
	if err := rsa.VerifyPKCS1v15(k.Certificate.PublicKey.(*rsa.PublicKey), crypto.SHA256, sum[:], signer.Signature); err != nil {
		t.Errorf("signature over the attributes: %v", err)
	}
	var indirect asn1.RawValue
	if rest, err := asn1.Unmarshal(got.Content.Content.Content.Bytes, &indirect); err != nil || len(rest) != 0 {
		t.Fatalf("content: %v, %d bytes behind it", err, len(rest))
	}
	content := sha256.Sum256(indirect.Bytes)
	if !bytes.Contains(signer.Attributes.Bytes, content[:]) {
		t.Errorf("attributes %x, want the content's digest %x in them", signer.Attributes.Bytes, content)
	}
	if !bytes.Contains(indirect.Bytes, digest[:]) {
		t.Error("the content has no digest of the image")
	}
	if !bytes.Equal(got.Content.Certificates.Bytes, k.Certificate.Raw) {
		t.Error("the signature has another certificate than the key's")
	}
}

func TestSignDigest(t *testing.T) {
	b := fakePE()[:0x600]
	p, err := parsePE(b)
	if err != nil {
		t.Fatal(err)
	}
	digest := func(change func([]byte)) [32]byte {
		t.Helper()
		other := bytes.Clone(b)
		change(other)
		p, err := parsePE(other)
		if err != nil {
			t.Fatal(err)
		}
		d, err := p.digest()
		if err != nil {
			t.Fatal(err)
		}
		return [32]byte(d)
	}
	same := digest(func([]byte) {})
	checksum := p.optional + optChecksum
	place := p.optional + optDirectories + 8*directoryCertificates
	for at := range b {
		inChecksum, inPlace := at >= checksum && at < checksum+4, at >= place && at < place+8
		if !inChecksum && !inPlace && at < p.table+sectionHeaderSize {
			continue // the headers' own structure; what follows covers the rest byte by byte
		}
		if got := digest(func(b []byte) { b[at] ^= 1 }); (got == same) != (inChecksum || inPlace) {
			t.Errorf("byte %#x changed, digest equal: %t, want %t", at, got == same, inChecksum || inPlace)
		}
	}
}

func TestSign(t *testing.T) {
	k := newKey(t)
	uki, err := UKI(UKIParts{Stub: fakePE(), Linux: []byte("kernel"), Cmdline: "x"})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := Sign(uki, k)
	if err != nil {
		t.Fatal(err)
	}
	if len(signed)%8 != 0 {
		t.Errorf("signed image of %d bytes, want a multiple of 8", len(signed))
	}
	if again, err := Sign(uki, k); err != nil || !bytes.Equal(signed, again) {
		t.Errorf("Sign of equal input gives other bytes (error %v)", err)
	}
	_, err = Sign(signed, k)
	wantError(t, "Sign of a signed image", err, "signature already")
	for name, b := range damagedPE() {
		signed, err := Sign(b, k)
		wantError(t, "Sign of an image: "+name, err, "PE image")
		if signed != nil {
			t.Errorf("Sign of an image: %s: bytes with an error", name)
		}
	}
	gap := fakePE()
	le.PutUint32(gap[0x80+optOffset+112+8*16+20:], 0x401)
	_, err = Sign(gap, k)
	wantError(t, "Sign of an image with a gap", err, "gap")
	_, err = Sign(uki, &Key{failing{k.Signer}, k.Certificate})
	wantError(t, "Sign with a key that fails", err, "out of order")
}

// failing is a key that can't sign.
type failing struct{ crypto.Signer }

func (failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("out of order")
}

// TestSignVerify has the verifier of sbsigntool check signatures on the real stub.
func TestSignVerify(t *testing.T) {
	s := debian.Need(t, debian.X86)
	ours, err := ReadKey(s.SnakeoilKey, s.SnakeoilCertificate, SnakeoilPassphrase)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newKey(t)
	strangers := write(t, "stranger.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger.Certificate.Raw}))
	uki, err := UKI(UKIParts{Stub: read(t, s.SystemdStub), Linux: read(t, s.Kernel), Cmdline: "quiet"})
	if err != nil {
		t.Fatal(err)
	}
	// A length that is no multiple of eight, so that the image must be filled up.
	uki = append(uki, "xyz"...)
	sign := func(k *Key) []byte {
		t.Helper()
		b, err := Sign(uki, k)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := sign(ours)
	changed := bytes.Replace(good, []byte("quiet"), []byte("debug"), 1)
	for _, test := range []struct {
		name        string
		image       []byte
		certificate string
		want        bool
	}{
		{"ours", good, s.SnakeoilCertificate, true},
		{"the stranger's", sign(stranger), strangers, true},
		{"the stranger's for ours", sign(stranger), s.SnakeoilCertificate, false},
		{"ours on a changed image", changed, s.SnakeoilCertificate, false},
		{"none", uki, s.SnakeoilCertificate, false},
	} {
		out, got := tool(t, "sbverify", "--cert", test.certificate, write(t, "image.efi", test.image))
		if got != test.want {
			t.Errorf("sbverify of signature %s = %t, want %t: %s", test.name, got, test.want, out)
		}
	}
}

func TestSignKeyKind(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Sign(fakePE()[:0x600], &Key{key, newKey(t).Certificate})
	wantError(t, "Sign with an ECDSA key", err, "want RSA")
}

func FuzzSign(f *testing.F) {
	for _, b := range damagedPE() {
		f.Add(b)
	}
	f.Add(fakePE())
	f.Add(fakePE()[:0x600])
	f.Add(read(f, debian.Need(f, debian.X86).SystemdStub))
	k := newKey(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		signed, err := Sign(b, k)
		if err != nil {
			if signed != nil {
				t.Error("Sign: bytes with an error")
			}
			return
		}
		if len(signed) > len(b)+8192 {
			t.Errorf("Sign of %d bytes gives %d", len(b), len(signed))
		}
		if _, err := Sign(signed, k); err == nil {
			t.Error("Sign signed twice")
		}
	})
}
