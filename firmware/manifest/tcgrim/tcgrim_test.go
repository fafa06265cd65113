package tcgrim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
)

var now = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

var eventLog = []byte("a boot event log")

// signer is a maker's certificate with its key.
type signer struct {
	key  crypto.Signer
	cert *x509.Certificate
}

func newSigner(t testing.TB, key crypto.Signer) signer {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "RIM signer"},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, cert}
}

func rsaSigner(t testing.TB, bits int) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return newSigner(t, key)
}

// canonicalTag is a tag as PC makers write them, already in its canonical form, with attributes for the payload's file.
func canonicalTag(file string) string {
	return `<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns2="http://www.w3.org/2000/09/xmldsig#"` +
		` corpus="false" name="Acme &lt;BIOS>" patch="false" supplemental="false" tagId="94f6b457" version="01" xml:lang="en">` +
		"\n  <Entity name=\"Acme Firmware\" role=\"softwareCreator tagCreator\"></Entity>\n\n" +
		`<Meta xmlns:n8060="http://csrc.nist.gov/ns/swid/2015-extensions/1.0"` +
		` xmlns:rim="https://trustedcomputinggroup.org/wp-content/uploads/TCG_RIM_Model"` +
		` n8060:edition="12" n8060:product="R7" rim:bindingSpec="PC Client RIM" rim:firmwareManufacturerStr="BIOS Ltd"` +
		` rim:firmwareModel="A0" rim:firmwareVersion="12" rim:platformManufacturerStr="Acme" rim:platformModel="R7"` +
		` rim:platformVersion="01"></Meta>` +
		`<Payload><Directory name="rim"><File xmlns:S3="http://www.w3.org/2001/04/xmldsig-more#sha384"` +
		` xmlns:SHA256="http://www.w3.org/2001/04/xmlenc#sha256" ` + file + `></File></Directory></Payload></SoftwareIdentity>`
}

func goodFile() string {
	a, b := sha256.Sum256(eventLog), sha512.Sum384(eventLog)
	return fmt.Sprintf(`name="acme.rimel" size="%d" S3:hash="%X" SHA256:hash="%x"`, len(eventLog), b, a)
}

const keyInfo = `<KeyInfo><KeyName>whoever</KeyName></KeyInfo>`

// sign signs a tag in its canonical form as XML Signature wants it, without any code of the package. What it returns is
// not in the canonical form.
func (s signer) sign(t testing.TB, tag string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(tag))
	method := "rsa-sha256"
	if _, ok := s.key.(*ecdsa.PrivateKey); ok {
		method = "ecdsa-sha256"
	}
	info := `<SignedInfo%s><CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"></CanonicalizationMethod>` +
		`<SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#` + method + `"></SignatureMethod>` +
		`<Reference URI=""><Transforms><Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></Transform></Transforms>` +
		`<DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></DigestMethod>` +
		`<DigestValue>` + base64.StdEncoding.EncodeToString(digest[:]) + `</DigestValue></Reference></SignedInfo>`
	inherited := ` xmlns="http://www.w3.org/2000/09/xmldsig#" xmlns:ns2="http://www.w3.org/2000/09/xmldsig#" xml:lang="en"`
	hash := sha256.Sum256(fmt.Appendf(nil, info, inherited))
	value, err := s.key.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if method == "ecdsa-sha256" {
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(value, &rs); err != nil {
			t.Fatal(err)
		}
		value = append(rs.R.FillBytes(make([]byte, 32)), rs.S.FillBytes(make([]byte, 32))...)
	}
	lines := base64.StdEncoding.EncodeToString(value)
	sig := `<Signature xmlns="http://www.w3.org/2000/09/xmldsig#">` + fmt.Sprintf(info, "") + "<SignatureValue>" + lines[:40] +
		"&#13;\n" + lines[40:] + "</SignatureValue>" + keyInfo + "</Signature>"
	doc := strings.Replace(tag, "</SoftwareIdentity>", sig+"</SoftwareIdentity>", 1)
	for _, name := range []string{"Entity", "Meta", "File", "DigestMethod", "Transform"} {
		doc = strings.ReplaceAll(doc, "></"+name+">", "/>")
	}
	doc = strings.Replace(doc, `name="Acme &lt;BIOS>" patch="false"`, "patch='false'\n name='Acme &lt;BIOS&gt;'", 1)
	doc = strings.Replace(doc, "<Meta", "<!-- another --><Meta", 1)
	return []byte("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\r\n<!-- a comment -->" + doc + "\n")
}

func TestOpen(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := rsaSigner(t, 2048)
	for _, s := range []signer{rsaSigner(t, 2048), newSigner(t, ec)} {
		r, err := Open(s.sign(t, canonicalTag(goodFile())), []*x509.Certificate{other.cert, s.cert}, now)
		if err != nil {
			t.Fatal(err)
		}
		a, b := sha256.Sum256(eventLog), sha512.Sum384(eventLog)
		want := &RIM{
			TagID: "94f6b457", Name: "Acme <BIOS>", Version: "01", Creator: "Acme Firmware",
			BindingSpec: "PC Client RIM", PlatformManufacturer: "Acme", PlatformModel: "R7", PlatformVersion: "01",
			FirmwareManufacturer: "BIOS Ltd", FirmwareModel: "A0", FirmwareVersion: "12",
			Files: []File{{Path: "rim/acme.rimel", Size: int64(len(eventLog)), Digests: manifest.Digests{
				{Algorithm: pcr.SHA256, Value: a[:]}, {Algorithm: pcr.SHA384, Value: b[:]},
			}}},
		}
		if diff := cmp.Diff(want, r, cmpopts.IgnoreFields(RIM{}, "Signer")); diff != "" {
			t.Errorf("Open: %s", diff)
		}
		if !r.Signer.Equal(s.cert) {
			t.Errorf("signer %s, want the second certificate", r.Signer.Subject)
		}
		m, err := r.Manifest("acme/r7/12")
		if err != nil || m.Vendor != "Acme" || m.Model != "R7" || m.Version != "12" {
			t.Errorf("Manifest = %+v, %v", m, err)
		}
	}
}

func TestEventLogs(t *testing.T) {
	s := rsaSigner(t, 2048)
	r, err := Open(s.sign(t, canonicalTag(goodFile())), []*x509.Certificate{s.cert}, now)
	if err != nil {
		t.Fatal(err)
	}
	logs := r.EventLogs()
	if len(logs) != 1 {
		t.Fatalf("%d event logs, want 1", len(logs))
	}
	if err := logs[0].Verify(eventLog); err != nil {
		t.Error(err)
	}
	changed := bytes.Replace(eventLog, []byte("a"), []byte("b"), 1)
	for content, want := range map[string]string{string(changed): "sha256 is", string(eventLog[1:]): "15 bytes"} {
		if err := logs[0].Verify([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Verify(%q) = %v, want %q", content, err, want)
		}
	}
	if err := (&File{Size: -1}).Verify(nil); err == nil {
		t.Error("a file without digests verifies")
	}
}

// One line for each way in which a tag may be wrong. Those by edit are correctly signed.
func TestOpenRefuses(t *testing.T) {
	s := rsaSigner(t, 2048)
	tag := canonicalTag(goodFile())
	replace := func(in, old, new string) string {
		if !strings.Contains(in, old) {
			t.Fatalf("no %q to replace", old)
		}
		return strings.Replace(in, old, new, 1)
	}
	edit := func(old, new string) []byte { return s.sign(t, replace(tag, old, new)) }
	good := string(s.sign(t, tag))
	change := func(old, new string) []byte { return []byte(replace(good, old, new)) }
	deep := strings.Repeat(`<Directory name="d">`, maxDepth) + strings.Repeat("</Directory>", maxDepth)
	file := `<File xmlns:h="http://www.w3.org/2001/04/xmlenc#sha256" name="a" h:hash="` + strings.Repeat("00", 32) + `"></File>`
	for _, tt := range []struct {
		name string
		tag  []byte
		want string
	}{
		{"changed after signing", change("acme.rimel", "evil.rimel"), "not the one that was signed"},
		{"text added after signing", change("<Payload>", "<Payload> "), "not the one that was signed"},
		{"element added after signing", change("<Payload>", "<Payload><File/>"), "not the one that was signed"},
		{"changed language", change(`xml:lang="en"`, `xml:lang="de"`), "not the one that was signed"},
		{"changed signature", change("&#13;", "AAAA"), "verification error"},
		{"no signature", []byte(tag), "want one enveloped signature, got 0"},
		{"two signatures", change("</SoftwareIdentity>", `<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/></SoftwareIdentity>`), "got 2"},
		{"no signed information", change("SignedInfo", "SignedInf"), "end of an element"},
		{"document type", change("<SoftwareIdentity", "<!DOCTYPE x>\n<SoftwareIdentity"), "document types"},
		{"external entity", change("<SoftwareIdentity", `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><SoftwareIdentity`), "document types"},
		{"undefined entity", change("<Payload>", "<Payload>&e;"), "invalid character entity"},
		{"processing instruction", change("<Payload>", "<?php ?><Payload>"), "processing instruction"},
		{"another character set", change("UTF-8", "UTF-16"), "character set"},
		{"not UTF-8", []byte("<a>\xff</a>"), "not UTF-8"},
		{"SHA-1 digest", change("http://www.w3.org/2001/04/xmlenc#sha256\"/><DigestValue", "http://www.w3.org/2000/09/xmldsig#sha1\"/><DigestValue"), "want SHA-256"},
		{"SHA-1 signature", change("2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#rsa-sha1"), "want RSA or ECDSA"},
		{"another transform", change("enveloped-signature", "base64"), "transforms"},
		{"no transform", change(`<Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>`, ""), "transforms"},
		{"another canonical form", change("REC-xml-c14n-20010315", "REC-xml-c14n-20010315#WithComments"), "canonicalisation"},
		{"reference to a part", change(`URI=""`, `URI="#a"`), "want one reference"},
		{"two references", change("<Reference", `<Reference URI=""/><Reference`), "want one reference"},
		{"two digests", change("<DigestValue>", "<DigestValue/><DigestValue>"), "want one DigestValue"},
		{"digest not in base64", change("<DigestValue>", "<DigestValue>!"), "not base64"},
		{"not XML", []byte("d901f5"), "text outside"},
		{"cut off", []byte(good[:len(good)/2]), "byte"},
		{"cut off between elements", []byte(good[:strings.Index(good, "<Payload>")]), "cut off"},
		{"two roots", []byte(good + "<a/>"), "second element"},
		{"empty", nil, "cut off"},
		{"undeclared prefix", change("<Payload>", "<x:Payload>"), "not declared"},
		{"undeclared prefix of an attribute", change("<Payload>", `<Payload x:a="">`), "not declared"},
		{"attribute twice", change("<Payload>", `<Payload a="" a="">`), "there twice"},
		{"attribute twice by two prefixes", change("<Payload>", `<Payload xmlns:p="u" xmlns:q="u" p:a="" q:a="">`), "there twice"},
		{"declaration twice", change("<Payload>", `<Payload xmlns:p="u" xmlns:p="v">`), "declaration"},
		{"too many attributes", change("<Payload>", "<Payload"+strings.Repeat(` a=""`, maxAttributes+1)+">"), "attributes, at most"},
		{"too deep", edit("</Payload>", deep+"</Payload>"), "nest deeper"},
		{"too many elements", edit("</Payload>", strings.Repeat("<a></a>", maxTokens)+"</Payload>"), "more than"},
		{"too large", make([]byte, MaxSize+1), "at most"},
		{"another namespace", edit("19770/-2/2015", "19770/-2/2009"), "want a SWID tag"},
		{"no tag id", edit(`tagId="94f6b457" `, ""), "no tagId"},
		{"long model", edit(`rim:platformModel="R7"`, `rim:platformModel="`+strings.Repeat("a", maxText+1)+`"`), "at most 1024"},
		{"file without name", edit(`name="acme.rimel" `, ""), "no name"},
		{"file without digest", edit(goodFile(), `name="a"`), "no SHA-256"},
		{"size that is none", edit(`size="16"`, `size="-1"`), "no number"},
		{"short digest", edit(goodFile(), `name="a" SHA256:hash="00"`), "not 32 bytes"},
		{"too many files", edit("</Payload>", strings.Repeat(file, MaxFiles)+"</Payload>"), "more than 1024 files"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r, err := Open(tt.tag, []*x509.Certificate{s.cert}, now); r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open = %v, %v, want %q", r, err, tt.want)
			}
		})
	}
}

// The keys that count are the caller's, never the document's.
func TestOpenTrust(t *testing.T) {
	s, evil := rsaSigner(t, 2048), rsaSigner(t, 2048)
	embedded := "<KeyInfo><X509Data><X509Certificate>" + base64.StdEncoding.EncodeToString(evil.cert.Raw) + "</X509Certificate></X509Data></KeyInfo>"
	tag := bytes.Replace(evil.sign(t, canonicalTag(goodFile())), []byte(keyInfo), []byte(embedded), 1)
	if _, err := Open(tag, []*x509.Certificate{evil.cert}, now); err != nil {
		t.Errorf("Open with a certificate within = %v", err)
	}
	if _, err := Open(tag, []*x509.Certificate{s.cert}, now); !errors.Is(err, ErrSignature) {
		t.Errorf("Open of another signer's tag = %v, want %v", err, ErrSignature)
	}
	if _, err := Open(tag, nil, now); !errors.Is(err, ErrSignature) {
		t.Errorf("Open without certificates = %v, want %v", err, ErrSignature)
	}
	good := s.sign(t, canonicalTag(goodFile()))
	for _, at := range []time.Time{now.AddDate(-2, 0, 0), now.AddDate(2, 0, 0)} {
		if _, err := Open(good, []*x509.Certificate{s.cert}, at); !errors.Is(err, ErrSignature) {
			t.Errorf("Open at %s = %v, want %v", at, err, ErrSignature)
		}
	}
	if _, err := Open(good, make([]*x509.Certificate, MaxSigners+1), now); err == nil {
		t.Error("any number of certificates is tried")
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(good, []*x509.Certificate{newSigner(t, ec).cert}, now); !errors.Is(err, ErrSignature) {
		t.Errorf("Open with a certificate of another kind = %v, want %v", err, ErrSignature)
	}
}

// Signed content inside or beside other content doesn't make the other content signed.
func TestOpenWrapping(t *testing.T) {
	s := rsaSigner(t, 2048)
	good := string(s.sign(t, canonicalTag(goodFile())))
	inner := good[strings.Index(good, "<SoftwareIdentity"):]
	sig := inner[strings.Index(inner, "<Signature") : strings.Index(inner, "</Signature>")+len("</Signature>")]
	evil := canonicalTag(`name="evil" SHA256:hash="` + strings.Repeat("00", 32) + `"`)
	for name, doc := range map[string]string{
		"signed tag within another":           strings.Replace(evil, "<Payload>", inner+"<Payload>", 1),
		"signature moved":                     strings.Replace(evil, "<Payload>", sig+"<Payload>", 1),
		"signature moved with the signed tag": strings.Replace(evil, "<Payload>", strings.Replace(sig, "</Signature>", "<Object>"+inner+"</Object></Signature>", 1)+"<Payload>", 1),
	} {
		if r, err := Open([]byte(doc), []*x509.Certificate{s.cert}, now); r != nil || !errors.Is(err, ErrSignature) {
			t.Errorf("%s: Open = %+v, %v, want %v", name, r, err, ErrSignature)
		}
	}
	// What stands in the signature isn't covered by it, and isn't read either.
	within := strings.Replace(good, keyInfo, `<Object><Payload xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd"><File name="evil"/></Payload></Object>`, 1)
	r, err := Open([]byte(within), []*x509.Certificate{s.cert}, now)
	if err != nil || len(r.Files) != 1 || r.Files[0].Path != "rim/acme.rimel" {
		t.Errorf("Open with a payload in the signature = %+v, %v", r, err)
	}
}

func TestManifestRefuses(t *testing.T) {
	for want, r := range map[string]*RIM{
		"supplement":      {Supplemental: true},
		"vendor: missing": {PlatformModel: "R7", Version: "1"},
	} {
		if m, err := r.Manifest("a"); m != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Manifest = %v, %v, want %q", m, err, want)
		}
	}
}

// The examples of the recommendation that need no document type, and inheritance as in section 3.7.
func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`<a/>`:     `<a></a>`,
		`<e1   />`: `<e1></e1>`,
		`<e2   a:attr="out" b:attr="sorted" attr2="all" attr="I'm"  xmlns:b="http://www.ietf.org"  xmlns:a="http://www.w3.org"  xmlns="http://example.org"/>`: `<e2 xmlns="http://example.org" xmlns:a="http://www.w3.org" xmlns:b="http://www.ietf.org" attr="I'm" attr2="all" b:attr="sorted" a:attr="out"></e2>`,
		`<e5 xmlns="" xmlns:a="u"><e6 xmlns="" xmlns:a="u"><e7 xmlns="v"><e8 xmlns=""/></e7></e6></e5>`:                                                       `<e5 xmlns:a="u"><e6><e7 xmlns="v"><e8 xmlns=""></e8></e7></e6></e5>`,
		"<t>First line&#x0d;&#10;Second &gt; <![CDATA[a<b&c]]></t>":                                                                                           "<t>First line&#xD;\nSecond &gt; a&lt;b&amp;c</t>",
		`<c a='"&#9;&#10;&#13;&lt;&amp;&gt;'>a<!-- gone -->b</c>`:                                                                                             `<c a="&quot;&#x9;&#xA;&#xD;&lt;&amp;>">ab</c>`,
	} {
		n, err := parse([]byte(in))
		if err != nil {
			t.Errorf("parse(%s): %v", in, err)
			continue
		}
		if got := string(canonical(n, nil)); got != want {
			t.Errorf("canonical(%s) =\n%s, want\n%s", in, got, want)
		}
	}
	n, err := parse([]byte(`<a xmlns:p="u" xmlns="v" xml:lang="en" xml:space="preserve"><b xml:lang="de"><p:c xmlns:q="w"/></b></a>`))
	if err != nil {
		t.Fatal(err)
	}
	inner := n.elements("v", "b")[0].elements("u", "c")[0]
	const want = `<p:c xmlns="v" xmlns:p="u" xmlns:q="w" xml:lang="de" xml:space="preserve"></p:c>`
	if got := string(canonical(inner, nil)); got != want {
		t.Errorf("canonical of a subset = %s, want %s", got, want)
	}
}

func FuzzOpen(f *testing.F) {
	s := rsaSigner(f, 2048)
	good := s.sign(f, canonicalTag(goodFile()))
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(canonicalTag(goodFile())))
	f.Add([]byte(`<a xmlns:p="u" xmlns="v" xml:lang="en"><b><p:c xmlns:q="w"/></b></a>`))
	want, err := Open(good, []*x509.Certificate{s.cert}, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if root, err := parse(b); err == nil {
			_, _ = read(root) // what only signed content reaches otherwise
			once := canonical(root, nil)
			again, err := parse(once)
			if err != nil {
				t.Fatalf("the canonical form is refused: %v\n%s", err, once)
			}
			if twice := canonical(again, nil); !bytes.Equal(once, twice) {
				t.Fatalf("canonical twice:\n%s\n%s", once, twice)
			}
		}
		r, err := Open(b, []*x509.Certificate{s.cert}, now)
		if err != nil {
			if r != nil {
				t.Fatalf("Open = %v beside %v", r, err)
			}
			return
		}
		if diff := cmp.Diff(want, r); diff != "" {
			t.Fatalf("opened with content that the key never signed: %s", diff)
		}
	})
}
