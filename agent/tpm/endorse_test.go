package tpm_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/proto"
)

func TestEveryEndorsementKey(t *testing.T) {
	ca := newCA(t)
	for kind, profile := range map[tpmtest.Kind]string{
		tpmtest.P256: "P-256 (L-2)", tpmtest.P256High: "P-256 (H-2)", tpmtest.P384: "P-384 (H-3)",
		tpmtest.RSA2048: "RSA-2048 (L-1)", tpmtest.RSA2048High: "RSA-2048 (H-1)",
	} {
		t.Run(string(kind), func(t *testing.T) {
			s := tpmtest.Start(t, tpmtest.Options{})
			tr := s.Transport(t)
			if err := tpmtest.Manufacture(tr, ca, kind); err != nil {
				t.Fatal(err)
			}
			d := s.TPM(t)
			e := d.Endorsement()
			if e.Profile != profile || len(e.Notes) != 0 || len(e.Certificates) != 2 {
				t.Fatalf("Endorsement = %s, notes %v, %d certificates", e.Profile, e.Notes, len(e.Certificates))
			}
			cert, err := x509.ParseCertificate(e.Certificates[0])
			if err != nil {
				t.Fatal(err)
			}
			if !equal(cert.PublicKey, public(t, e.Public)) {
				t.Error("the certificate is for another key")
			}
			if !bytes.Equal(e.Certificates[1], ca.Intermediate.Raw) {
				t.Error("the intermediate of NV is not in the chain")
			}
			checkKeys(t, d)
			id := d.DeviceID()
			if err := tpmtest.Persist(tr, kind); err != nil {
				t.Fatal(err)
			}
			persistent := s.TPM(t)
			if persistent.DeviceID() != id {
				t.Error("the persistent key gives the device another id")
			}
			created := 0
			h := &hook{TPM: tr, before: func(c tpm2.TPMCC, _ []byte) []byte {
				if c == tpm2.TPMCCCreatePrimary {
					created++
				}
				return nil
			}}
			d = newTPM(t, h)
			ak, err := d.AK()
			if err != nil {
				t.Fatal(err)
			}
			created = 0
			checkActivation(t, d, ak.Public)
			if created != 0 {
				t.Errorf("%d keys were made, want none: the endorsement key is persistent", created)
			}
		})
	}
}

func TestPreference(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	tr := s.Transport(t)
	ca := newCA(t)
	if got := s.TPM(t).Endorsement(); got.Profile != "P-256 (L-2)" || len(got.Certificates) != 0 {
		t.Errorf("without certificates: %s with %d", got.Profile, len(got.Certificates))
	}
	for _, step := range []struct {
		add  tpmtest.Kind
		want string
	}{
		{tpmtest.RSA2048High, "RSA-2048 (H-1)"},
		{tpmtest.RSA2048, "RSA-2048 (L-1)"},
		{tpmtest.P384, "P-384 (H-3)"},
		{tpmtest.P256High, "P-256 (H-2)"},
		{tpmtest.P256, "P-256 (L-2)"},
	} {
		if err := tpmtest.ManufactureWith(tr, ca, step.add, nil); err != nil {
			t.Fatal(err)
		}
		if got := s.TPM(t).Endorsement().Profile; got != step.want {
			t.Errorf("with %s: %s, want %s", step.add, got, step.want)
		}
	}
}

// TestOddNV covers what is found in the NV of real TPMs: padding, rubbish, certificates of other keys, keys made with a
// nonce.
func TestOddNV(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	tr := s.Transport(t)
	ca := newCA(t)
	if err := tpmtest.Manufacture(tr, ca, tpmtest.P256); err != nil {
		t.Fatal(err)
	}
	want := s.TPM(t).Endorsement()
	der := want.Certificates[0]
	const index = 0x01c0000a

	for _, pad := range [][]byte{bytes.Repeat([]byte{0xff}, 700), make([]byte, 33)} {
		write(t, s, index, append(bytes.Clone(der), pad...))
		if diff := cmp.Diff(want, s.TPM(t).Endorsement()); diff != "" {
			t.Errorf("with %d bytes of padding (-want +got):\n%s", len(pad), diff)
		}
	}
	chain := append(bytes.Clone(ca.Intermediate.Raw), ca.Root.Raw...)
	write(t, s, 0x01c00100, chain[:400])
	write(t, s, 0x01c00101, append(chain[400:], 0xff, 0xff))
	if got := s.TPM(t).Endorsement().Certificates; len(got) != 3 || !bytes.Equal(got[2], ca.Root.Raw) {
		t.Errorf("chain over two indices: %d certificates, want 3", len(got))
	}
	for what, b := range map[string][]byte{
		"empty": {}, "zeros": make([]byte, 100), "cut short": der[:len(der)-1], "not DER": []byte("hello"),
		"over the limit": append(bytes.Clone(der), make([]byte, 2048)...)[:2048],
	} {
		write(t, s, index, b)
		got := s.TPM(t).Endorsement()
		if what == "over the limit" {
			continue // padding, still within proto's limit
		}
		if len(got.Certificates) != 0 || len(got.Notes) != 1 || got.Profile != "P-256 (L-2)" {
			t.Errorf("%s: %d certificates, notes %v, %s", what, len(got.Certificates), got.Notes, got.Profile)
		}
	}
	other := tpmtest.Start(t, tpmtest.Options{})
	if err := tpmtest.Manufacture(other.Transport(t), ca, tpmtest.P256); err != nil {
		t.Fatal(err)
	}
	write(t, s, index, other.TPM(t).Endorsement().Certificates[0])
	got := s.TPM(t).Endorsement()
	if len(got.Certificates) != 0 || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "another key") {
		t.Errorf("certificate of another TPM: %d certificates, notes %v", len(got.Certificates), got.Notes)
	}
}

func write(t *testing.T, s *tpmtest.Swtpm, index uint32, b []byte) {
	t.Helper()
	if err := tpmtest.WriteNV(s.Transport(t), index, b); err != nil {
		t.Fatal(err)
	}
}

// TestNonce: a maker may have made its key with a nonce or template that it left in NV.
func TestNonce(t *testing.T) {
	ca := newCA(t)
	nonce := bytes.Repeat([]byte{7}, 32)
	for _, tc := range []struct {
		profile int
		unique  tpm2.TPMUPublicID
	}{
		{0, tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: nonce}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
		})},
		{3, tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: append(bytes.Clone(nonce), make([]byte, 224)...)})},
	} {
		p := tpm.EndorsementProfiles[tc.profile]
		t.Run(p.Name, func(t *testing.T) {
			s := tpmtest.Start(t, tpmtest.Options{})
			tr := s.Transport(t)
			plain := s.TPM(t).DeviceID()
			template := p.Public
			template.Unique = tc.unique
			rsp, err := tpm2.CreatePrimary{
				PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
				InPublic:      tpm2.New2B(template),
			}.Execute(tr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := (tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}).Execute(tr); err != nil {
				t.Fatal(err)
			}
			der, err := ca.Certify(public(t, rsp.OutPublic.Bytes()), nil)
			if err != nil {
				t.Fatal(err)
			}
			write(t, s, p.Certificate, der)
			if got := s.TPM(t).Endorsement(); len(got.Certificates) != 0 {
				t.Error("a certificate of a key that cannot be made was used")
			}
			check := func(how string) {
				d := s.TPM(t)
				if !bytes.Equal(d.Endorsement().Public, rsp.OutPublic.Bytes()) || len(d.Endorsement().Certificates) != 1 {
					t.Errorf("%s was not honoured: notes %v", how, d.Endorsement().Notes)
				}
				if d.DeviceID() == plain {
					t.Errorf("%s: same id as without", how)
				}
				checkKeys(t, d)
			}
			write(t, s, p.Nonce, nonce)
			check("nonce")
			write(t, s, p.Nonce, make([]byte, 400)) // too long for any key: ignored
			write(t, s, p.Template, tpm2.Marshal(template))
			check("template")
			template.ObjectAttributes.UserWithAuth = true
			write(t, s, p.Template, tpm2.Marshal(template))
			if got := s.TPM(t).Endorsement(); len(got.Certificates) != 0 {
				t.Error("a template with other attributes was used")
			}
		})
	}
}

// TestSwtpmSetup uses a TPM that swtpm's own tool manufactured: RSA-2048 and P-384 keys, persistent, with certificates.
func TestSwtpmSetup(t *testing.T) {
	if _, err := exec.LookPath("swtpm_setup"); err != nil {
		t.Fatalf("%v: install with make deps (Debian: apt-get install swtpm-tools)", err)
	}
	dir := t.TempDir()
	conf := func(name string, lines ...string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, state := filepath.Join(dir, "ca"), filepath.Join(dir, "state")
	for _, d := range []string{ca, state} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	local := conf("localca.conf", "statedir = "+ca, "signingkey = "+filepath.Join(ca, "signkey.pem"),
		"issuercert = "+filepath.Join(ca, "issuercert.pem"), "certserial = "+filepath.Join(ca, "certserial"))
	options := conf("options.conf", "--platform-manufacturer Probity", "--platform-version 1", "--platform-model Test")
	setup := conf("setup.conf", "create_certs_tool = "+find(t, "swtpm_localca"),
		"create_certs_tool_config = "+local, "create_certs_tool_options = "+options)
	cmd := exec.CommandContext(context.Background(), "swtpm_setup", "--tpm2", "--tpm-state", "dir://"+state, "--config", setup,
		"--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--pcr-banks", "sha1,sha256,sha384", "--overwrite")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("swtpm_setup: %v\n%s", err, out)
	}
	s := tpmtest.Start(t, tpmtest.Options{Dir: state})
	d := s.TPM(t)
	e := d.Endorsement()
	if e.Profile != "P-384 (H-3)" || len(e.Certificates) != 1 || len(e.Notes) != 0 {
		t.Errorf("Endorsement = %s, %d certificates, notes %v, want P-384 (H-3) with one", e.Profile, len(e.Certificates), e.Notes)
	}
	checkKeys(t, d)
	for _, h := range handles(t, s.Transport(t), 0x81010000) { // the tool keeps its keys: our template makes the same
		if h == 0x81010016 {
			rsp, err := tpm2.ReadPublic{ObjectHandle: h}.Execute(s.Transport(t))
			if err != nil {
				t.Fatal(err)
			}
			if proto.DeviceID(rsp.OutPublic.Bytes()) != d.DeviceID() {
				t.Error("the persistent P-384 key is another one")
			}
			return
		}
	}
	t.Error("swtpm_setup left no persistent P-384 key")
}

func find(t *testing.T, tool string) string {
	t.Helper()
	for _, p := range []string{"/usr/bin/" + tool, "/usr/share/swtpm/" + tool, "/usr/local/bin/" + tool} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Fatalf("%s not found: install with make deps (Debian: apt-get install swtpm-tools)", tool)
	return ""
}
