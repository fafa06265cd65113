package predict

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/firmware/image/pecoff"
	"github.com/probity-attest/probity/firmware/pcr"
)

// signer is a key with its certificate.
type signer struct {
	key  crypto.Signer
	cert *x509.Certificate
}

// newSigner makes a key and a certificate, certified by up, by itself if up is nil.
func newSigner(t testing.TB, name string, key crypto.Signer, up *signer) *signer {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name)) + 7), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0), // firmware has no clock to check them with
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	parent, by := template, key
	if up != nil {
		parent, by = up.cert, up.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key, cert}
}

func rsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func raw(class, tag int, compound bool, b []byte) asn1.RawValue {
	return asn1.RawValue{Class: class, Tag: tag, IsCompound: compound, Bytes: b}
}

// sign returns a certificate table with an Authenticode signature over a digest.
func (s *signer) sign(t testing.TB, digest []byte, chain ...*x509.Certificate) []byte {
	t.Helper()
	sha := algorithmIdentifier{Algorithm: oidSHA256}
	var indirect indirectData
	indirect.Data = raw(asn1.ClassUniversal, asn1.TagSequence, true, nil)
	indirect.Digest.Algorithm, indirect.Digest.Digest = sha, digest
	content := marshal(t, indirect)
	var inner asn1.RawValue
	if _, err := asn1.Unmarshal(content, &inner); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(inner.Bytes)
	attributes := marshal(t, attribute{oidMessageDigest, raw(asn1.ClassUniversal, asn1.TagSet, true, marshal(t, sum[:]))})
	toSign := sha256.Sum256(marshal(t, raw(asn1.ClassUniversal, asn1.TagSet, true, attributes)))
	signature, err := s.key.Sign(rand.Reader, toSign[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var certificates []byte
	for _, c := range append([]*x509.Certificate{s.cert}, chain...) {
		certificates = append(certificates, c.Raw...)
	}
	der := marshal(t, contentInfo{oidSignedData, raw(asn1.ClassContextSpecific, 0, true, marshal(t, signedData{
		Version: 1, Digests: raw(asn1.ClassUniversal, asn1.TagSet, true, marshal(t, sha)),
		Content:      contentInfo{oidIndirectData, raw(asn1.ClassContextSpecific, 0, true, content)},
		Certificates: raw(asn1.ClassContextSpecific, 0, true, certificates),
		Signers: []signerInfo{{
			Version: 1, Issuer: issuerAndSerial{asn1.RawValue{FullBytes: s.cert.RawIssuer}, s.cert.SerialNumber},
			DigestAlgorithm: sha, Authenticated: raw(asn1.ClassContextSpecific, 0, true, attributes), Encryption: sha,
			Signature: signature,
		}},
	}))})
	table := binary.LittleEndian.AppendUint32(nil, uint32(8+len(der)))
	table = append(append(table, 0, 2, certificatePKCS, 0), der...)
	return append(table, make([]byte, -len(table)&7)...)
}

// signedImage builds a program and signs it.
func (s *signer) signedImage(t testing.TB, machine uint16, chain []*x509.Certificate, sections ...imagetest.ProgramSection) []byte {
	t.Helper()
	pe, err := pecoff.Parse(imagetest.ProgramOf(machine, 10, nil, sections...))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := pe.Authenticode(pcr.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.ProgramOf(machine, 10, s.sign(t, digest, chain...), sections...)
}

// store builds a variable store.
func store(t testing.TB, variables ...imagetest.Variable) []byte {
	t.Helper()
	b, err := imagetest.NVRAM(64<<10, variables...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// splitVariable reads a UEFI_VARIABLE_DATA.
func splitVariable(t testing.TB, b []byte) (name string, value []byte) {
	t.Helper()
	units, size := int(binary.LittleEndian.Uint64(b[16:])), int(binary.LittleEndian.Uint64(b[24:]))
	for i := range units {
		name += string(rune(b[32+2*i]))
	}
	return name, b[32+2*units:][:size]
}

var owner = image.GUID{1, 2, 3}

// policy is a store with Secure Boot on and these certificates in db.
func policy(t testing.TB, db ...*x509.Certificate) []byte {
	t.Helper()
	var lists []byte
	for _, c := range db {
		lists = append(lists, signatureList(guidCertX509, owner, c.Raw)...)
	}
	return store(t, imagetest.Variable{GUID: guidGlobal, Name: "PK", Data: signatureList(guidCertX509, owner, []byte("pk"))},
		imagetest.Variable{GUID: guidDatabase, Name: "db", Data: lists},
		imagetest.Variable{GUID: guidSecureBootEnable, Name: "SecureBootEnable", Data: []byte{1}})
}

const authoritySlot = "EV_EFI_VARIABLE_AUTHORITY db"

func TestAuthority(t *testing.T) {
	root := newSigner(t, "root", rsaKey(t), nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := newSigner(t, "a leaf", key, root)
	stranger := newSigner(t, "stranger", rsaKey(t), nil)
	code := section(".text", bytes.Repeat([]byte{0x90}, 600))
	sections := append([]imagetest.ProgramSection{code}, section(".linux", kernelImage()),
		section(".sdmagic", []byte("#### LoaderInfo: systemd-stub 252 ####\x00")))
	signed := root.signedImage(t, 0x8664, nil, sections...)
	moved := bytes.Clone(signed)
	moved[bytes.Index(moved, code.Data)]++
	for name, c := range map[string]struct {
		uki    []byte
		db     []*x509.Certificate
		entry  *x509.Certificate
		reason string
	}{
		"the signer in db":             {signed, []*x509.Certificate{stranger.cert, root.cert}, root.cert, ""},
		"what certified the signer":    {leaf.signedImage(t, 0x8664, nil, sections...), []*x509.Certificate{root.cert}, root.cert, ""},
		"both: the first in db":        {leaf.signedImage(t, 0x8664, nil, sections...), []*x509.Certificate{leaf.cert, root.cert}, leaf.cert, ""},
		"certificates in the program":  {leaf.signedImage(t, 0x8664, []*x509.Certificate{root.cert}, sections...), []*x509.Certificate{root.cert}, root.cert, ""},
		"another signer":               {signed, []*x509.Certificate{stranger.cert}, nil, "refuses"},
		"a program that was changed":   {moved, []*x509.Certificate{root.cert}, nil, "refuses"},
		"no signature":                 {imagetest.ProgramOf(0x8664, 10, nil, sections...), []*x509.Certificate{root.cert}, nil, "refuses"},
		"a table that cannot be read":  {imagetest.ProgramOf(0x8664, 10, bytes.Repeat([]byte{0xff}, 16), sections...), nil, nil, "signature 0"},
		"a signature of other content": {imagetest.ProgramOf(0x8664, 10, stranger.sign(t, make([]byte, 32)), sections...), []*x509.Certificate{stranger.cert}, nil, "refuses"},
	} {
		t.Run(name, func(t *testing.T) {
			p := boot(t, Input{Variables: policy(t, c.db...), UKI: File{"uki.efi", c.uki}})
			e := find(t, p, 7, authoritySlot)
			if c.entry == nil {
				if !strings.Contains(e.Reason, c.reason) || len(e.Digests) != 0 {
					t.Errorf("authority has the reason %q and the digests %x, want %q and none", e.Reason, e.Digests, c.reason)
				}
				return
			}
			want := sha256.Sum256(variableData(guidDatabase, "db", append(owner[:], c.entry.Raw...)))
			if !bytes.Equal(e.Digests[pcr.SHA256], want[:]) || !strings.Contains(e.Note, c.entry.Subject.CommonName) {
				t.Errorf("authority = %x (%s, %s), want %x of %s", e.Digests, e.Note, e.Reason, want, c.entry.Subject)
			}
		})
	}
}

// An entry of db is measured once, however many programs it lets run, and a program may be in db by its digest.
func TestAuthorityOnce(t *testing.T) {
	root := newSigner(t, "root", rsaKey(t), nil)
	kernel := root.signedImage(t, 0x8664, nil, section(".text", append([]byte("\xeb\x3eHdrS"), make([]byte, 70)...)))
	loader := root.signedImage(t, 0x8664, nil, section(".sdmagic", []byte("#### LoaderInfo: systemd-boot 252 ####\x00")))
	in := Input{
		Variables: policy(t, root.cert), Loader: LoaderSystemdBoot, BootLoaders: []File{{"boot.efi", loader}},
		Kernel: File{"linux", kernel}, Cmdline: "quiet",
	}
	find(t, boot(t, in), 7, authoritySlot)

	pe, err := pecoff.Parse(systemdBootImage())
	if err != nil {
		t.Fatal(err)
	}
	digest, err := pe.Authenticode(pcr.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	in.BootLoaders[0].Content = systemdBootImage()
	in.Variables = store(t, imagetest.Variable{GUID: guidGlobal, Name: "PK", Data: []byte{1}},
		imagetest.Variable{GUID: guidDatabase, Name: "db", Data: append(signatureList(guidCertSHA256, owner, digest),
			signatureList(guidCertX509, owner, root.cert.Raw)...)})
	var notes []string
	for _, e := range boot(t, in).PCR(7) {
		if e.Slot == authoritySlot {
			notes = append(notes, e.Note+e.Reason)
		}
	}
	if len(notes) != 2 || !strings.Contains(notes[0], "its digest") || !strings.Contains(notes[1], "CN=root") {
		t.Errorf("authorities %q, want the digest of the loader, then the certificate of the kernel", notes)
	}
}

func TestSecureBootState(t *testing.T) {
	pk := imagetest.Variable{GUID: guidGlobal, Name: "PK", Data: []byte{1}}
	enable := func(b byte) imagetest.Variable {
		return imagetest.Variable{GUID: guidSecureBootEnable, Name: "SecureBootEnable", Data: []byte{b}}
	}
	for name, c := range map[string]struct {
		vars []byte
		said eventlog.SecureBootState
		want eventlog.SecureBootState
		err  string
	}{
		"erased":            {erased, 0, eventlog.SecureBootOff, ""},
		"keys":              {store(t, pk), 0, eventlog.SecureBootOn, ""},
		"keys and on":       {store(t, pk, enable(1)), eventlog.SecureBootOn, eventlog.SecureBootOn, ""},
		"keys and off":      {store(t, pk, enable(0)), 0, eventlog.SecureBootOff, ""},
		"on without keys":   {store(t, enable(1)), 0, eventlog.SecureBootOff, ""},
		"said on, is off":   {erased, eventlog.SecureBootOn, 0, "said to be on, by the variables it is off"},
		"not given":         {nil, 0, eventlog.SecureBootUnknown, ""},
		"not given but on":  {nil, eventlog.SecureBootOn, eventlog.SecureBootOn, ""},
		"no variable store": {make([]byte, 100), 0, eventlog.SecureBootOff, ""},
		"something else":    {[]byte(strings.Repeat("no store", 512)), 0, 0, "holds 0 variable stores"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Boot(Input{Variables: c.vars, SecureBoot: c.said, UKI: File{"uki", ukiImage("quiet")}})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || p != nil {
					t.Errorf("Boot() = %v, %v, want an error with %q", p, err, c.err)
				}
				return
			}
			if err != nil || p.SecureBoot != c.want {
				t.Fatalf("Boot() = %+v, %v, want Secure Boot %s", p, err, c.want)
			}
			checkPrediction(t, p)
			payload := 0
			for _, e := range p.PCR(4) {
				if strings.Contains(e.Slot, "payload") {
					payload++
					if e.Required != (c.want == eventlog.SecureBootOff) {
						t.Errorf("the kernel's measurement is required: %v", e.Required)
					}
				}
			}
			if want := map[bool]int{true: 0, false: 1}[c.want == eventlog.SecureBootOn]; payload != want {
				t.Errorf("%d measurements of the kernel inside, want %d", payload, want)
			}
		})
	}
}
