package main

import (
	"archive/tar"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
)

// Scripts in manifest need no verifier. Their commands make what a vendor ships.
func TestManifestScripts(t *testing.T) {
	dir := absolute(t, testdata)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script/manifest",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "firmware": makeFirmware, "implant": makeImplant, "uki": makeUKI, "tarball": makeTar, "rim": makeRIM, "fit": makeFIT,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("TESTDATA", dir)
			prepare(env)
			return nil
		},
	})
}

func writeScriptFile(ts *testscript.TestScript, name string, b []byte) {
	ts.Check(os.WriteFile(ts.MkAbs(name), b, 0o600))
}

// makeFirmware makes a firmware image: "firmware FILE".
func makeFirmware(ts *testscript.TestScript, _ bool, args []string) {
	b, err := imagetest.Firmware(imagetest.Config{})
	ts.Check(err)
	writeScriptFile(ts, args[0], b)
}

// implantGUID names the module of an implant.
var implantGUID = image.GUID{0xde, 0xad, 0xbe, 0xef}

// makeImplant puts a module into a firmware image: "implant FROM TO".
func makeImplant(ts *testscript.TestScript, _ bool, args []string) {
	b, err := imagetest.Implant([]byte(ts.ReadFile(args[0])), imagetest.DXEVolume, implantGUID, "Implant", []byte("payload"))
	ts.Check(err)
	writeScriptFile(ts, args[1], b)
}

// makeUKI makes a unified kernel image: "uki FILE CMDLINE".
func makeUKI(ts *testscript.TestScript, _ bool, args []string) {
	section := func(name, data string) imagetest.ProgramSection {
		return imagetest.ProgramSection{Name: name, Data: []byte(data)}
	}
	kernel := string(imagetest.Program(0x8664, 10, []byte("LOADED_IMAGE::LoadOptions Linux initrd")))
	writeScriptFile(ts, args[0], imagetest.UKI("252.39-1", []string{".linux", ".osrel", ".cmdline", ".initrd"},
		section(".osrel", "ID=lab\n"), section(".cmdline", args[1]), section(".initrd", "initrd"), section(".linux", kernel)))
}

// makeFIT makes a U-Boot image that ends too early: "fit FILE".
func makeFIT(ts *testscript.TestScript, _ bool, args []string) {
	b := imagetest.FIT(false, imagetest.FITImage{Name: "kernel", Type: "kernel", Data: []byte("kernel")})
	writeScriptFile(ts, args[0], b[:len(b)/2])
}

// makeTar makes an archive of programs whose content is their name and a word: "tarball FILE WORD NAME...".
func makeTar(ts *testscript.TestScript, _ bool, args []string) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range args[2:] {
		body := name + args[1]
		ts.Check(w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(body)), Typeflag: tar.TypeReg}))
		_, err := w.Write([]byte(body))
		ts.Check(err)
	}
	ts.Check(w.Close())
	writeScriptFile(ts, args[0], b.Bytes())
}

// makeRIM makes a base RIM for a log, and its signer's certificate: "rim TAG CERT LOG".
func makeRIM(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "RIM signer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	writeScriptFile(ts, args[1], pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}))

	log := sha256.Sum256([]byte(ts.ReadFile(args[2])))
	tag := fmt.Sprintf(`<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" name="Acme BIOS" tagId="94f6b457"`+
		` version="12"><Entity name="Acme" role="softwareCreator tagCreator"></Entity>`+
		`<Meta xmlns:rim="https://trustedcomputinggroup.org/wp-content/uploads/TCG_RIM_Model" rim:firmwareVersion="12"`+
		` rim:platformManufacturerStr="Acme" rim:platformModel="R7"></Meta><Payload><Directory name="rim">`+
		`<File xmlns:SHA256="http://www.w3.org/2001/04/xmlenc#sha256" name="x.rimel" SHA256:hash="%x"></File></Directory></Payload></SoftwareIdentity>`, log)
	digest := sha256.Sum256([]byte(tag))
	const space = ` xmlns="http://www.w3.org/2000/09/xmldsig#"`
	info := `<SignedInfo%s><CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"></CanonicalizationMethod>` +
		`<SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"></SignatureMethod><Reference URI=""><Transforms>` +
		`<Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></Transform></Transforms>` +
		`<DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></DigestMethod><DigestValue>` +
		base64.StdEncoding.EncodeToString(digest[:]) + `</DigestValue></Reference></SignedInfo>`
	hash := sha256.Sum256([]byte(fmt.Sprintf(info, space)))
	sig, err := key.Sign(rand.Reader, hash[:], crypto.SHA256)
	ts.Check(err)
	var rs struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(sig, &rs)
	ts.Check(err)
	value := append(rs.R.FillBytes(make([]byte, 32)), rs.S.FillBytes(make([]byte, 32))...)
	signature := `<Signature` + space + `>` + fmt.Sprintf(info, "") + `<SignatureValue>` + base64.StdEncoding.EncodeToString(value) +
		`</SignatureValue></Signature>`
	writeScriptFile(ts, args[0], []byte(strings.Replace(tag, "</SoftwareIdentity>", signature+"</SoftwareIdentity>", 1)))
}
