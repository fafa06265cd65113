package enroll_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/result"
)

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestForgedKeys has an attacker make consistent, correctly signed attestations of unsuitable keys (ATTACKS row 6). The
// first rows are suitable: they get a challenge, so that each of the others fails for its own reason.
func TestForgedKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key2048, key1024 := newRSA(t, 2048), newRSA(t, 1024)
	other := newP256(t)
	ak := func(change func(*tpm2.TPMTPublic)) func(*forger) {
		return func(f *forger) { change(&f.ak); f.attest() }
	}
	tls := func(change func(*tpm2.TPMTPublic)) func(*forger) {
		return func(f *forger) { change(&f.tls); f.attest() }
	}
	ek := func(change func(*tpm2.TPMTPublic)) func(*forger) {
		return func(f *forger) { change(&f.ek); f.attest() }
	}
	attributes := func(change func(*tpm2.TPMAObject)) func(*tpm2.TPMTPublic) {
		return func(p *tpm2.TPMTPublic) { change(&p.ObjectAttributes) }
	}
	rsaAK := func(f *forger) {
		f.ak = rsaPublic(key2048.N, 2048, true, rsassa(tpm2.TPMAlgSHA256))
		f.sign = f.rsa(key2048)
		f.attest()
	}
	for _, tc := range []struct {
		name   string
		change func(*forger)
		want   string // code; zero: a challenge
		reason string // part of the message
	}{
		{"suitable", func(*forger) {}, "", ""},
		{"RSA AK", rsaAK, "", ""},
		{"RSA TLS key", func(f *forger) { f.tls = rsaPublic(key2048.N, 2048, false, tpm2.TPMTRSAScheme{}); f.attest() }, "", ""},
		{"AK under lockout protection", ak(attributes(func(a *tpm2.TPMAObject) { a.NoDA = false })), "", ""},

		{"AK not restricted", ak(attributes(func(a *tpm2.TPMAObject) { a.Restricted = false })), enroll.CodeAK, "restricted"},
		{"AK not fixedTPM", ak(attributes(func(a *tpm2.TPMAObject) { a.FixedTPM = false })), enroll.CodeAK, "fixedTPM"},
		{"AK not fixedParent", ak(attributes(func(a *tpm2.TPMAObject) { a.FixedParent = false })), enroll.CodeAK, "fixedParent"},
		{"AK imported", ak(attributes(func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false })), enroll.CodeAK, "sensitiveDataOrigin"},
		{"AK decrypts", ak(attributes(func(a *tpm2.TPMAObject) { a.Decrypt = true })), enroll.CodeAK, "decrypt"},
		{"AK does not sign", ak(attributes(func(a *tpm2.TPMAObject) { a.SignEncrypt = false })), enroll.CodeAK, "sign"},
		{"AK without userWithAuth", ak(attributes(func(a *tpm2.TPMAObject) { a.UserWithAuth = false })), enroll.CodeAK, "userWithAuth"},
		{"AK adminWithPolicy", ak(attributes(func(a *tpm2.TPMAObject) { a.AdminWithPolicy = true })), enroll.CodeAK, "adminWithPolicy"},
		{"AK stClear", ak(attributes(func(a *tpm2.TPMAObject) { a.STClear = true })), enroll.CodeAK, "stClear"},
		{
			"AK encryptedDuplication", ak(attributes(func(a *tpm2.TPMAObject) { a.EncryptedDuplication = true })),
			enroll.CodeAK, "encryptedDuplication",
		},
		{"AK with a policy", ak(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer = make([]byte, 32) }), enroll.CodeAK, "policy"},
		{"AK named by SHA-384", ak(func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA384 }), enroll.CodeAK, "name algorithm"},
		{"AK on P-384", ak(func(p *tpm2.TPMTPublic) {
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, ecdsaParms(tpm2.TPMECCNistP384, tpm2.TPMAlgSHA256))
			p.Unique = pointOf(t, &p384.PublicKey)
		}), enroll.CodeAK, "curve"},
		{"AK with SHA-1", ak(func(p *tpm2.TPMTPublic) {
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, ecdsaParms(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA1))
		}), enroll.CodeAK, "hash"},
		{"AK without scheme", ak(func(p *tpm2.TPMTPublic) {
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256})
		}), enroll.CodeAK, "scheme"},
		{"AK with a symmetric algorithm", ak(func(p *tpm2.TPMTPublic) {
			e := ecdsaParms(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)
			e.Symmetric = tpm2.TPMTSymDefObject{
				Algorithm: tpm2.TPMAlgAES, KeyBits: tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
				Mode: tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
			}
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, e)
		}), enroll.CodeAK, "symmetric"},
		{"AK off its curve", ak(func(p *tpm2.TPMTPublic) { p.Unique = point(big.NewInt(1), big.NewInt(1), 32) }), enroll.CodeAK, "point"},
		{"AK at infinity", ak(func(p *tpm2.TPMTPublic) { p.Unique = point(new(big.Int), new(big.Int), 32) }), enroll.CodeAK, "point"},
		{"AK overlong", ak(func(p *tpm2.TPMTPublic) {
			u, _ := p.Unique.ECC()
			p.Unique = point(number(u.X.Buffer), number(u.Y.Buffer), 40)
		}), enroll.CodeAK, "coordinate"},
		{"AK of another type", ak(func(p *tpm2.TPMTPublic) {
			p.Type = tpm2.TPMAlgKeyedHash
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{})
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{Buffer: make([]byte, 32)})
		}), enroll.CodeAK, "type"},
		{"RSA AK with ECC signature", func(f *forger) {
			sign := f.sign
			rsaAK(f)
			f.sign = sign
		}, enroll.CodeAK, "signature"},
		{"ECC AK with RSA signature", func(f *forger) { f.sign = f.rsa(key2048) }, enroll.CodeAK, "signature"},
		{"AK signature without algorithm", func(f *forger) {
			f.sign = func([]byte) tpm2.TPMTSignature { return tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgNull} }
		}, enroll.CodeAK, "signature"},
		{"AK signature of another key", func(f *forger) { f.sign = f.ecdsa(other, tpm2.TPMAlgSHA256) }, enroll.CodeAK, ""},
		{"AK signature labelled SHA-1", func(f *forger) {
			k, ok := f.akKey.(*ecdsa.PrivateKey)
			if !ok {
				t.Fatal("AK is not ECDSA")
			}
			f.sign = f.ecdsa(k, tpm2.TPMAlgSHA1)
		}, enroll.CodeAK, "signature"},
		{"RSA AK of 1024 bits", func(f *forger) {
			f.ak = rsaPublic(key1024.N, 1024, true, rsassa(tpm2.TPMAlgSHA256))
			f.sign = f.rsa(key1024)
			f.attest()
		}, enroll.CodeAK, "2048"},
		{"RSA AK with a short modulus", func(f *forger) {
			f.ak = rsaPublic(key1024.N, 2048, true, rsassa(tpm2.TPMAlgSHA256))
			f.sign = f.rsa(key1024)
			f.attest()
		}, enroll.CodeAK, "2048"},
		{"RSA AK with exponent 1", func(f *forger) {
			rsaAK(f)
			p, _ := f.ak.Parameters.RSADetail()
			p.Exponent = 1
			f.ak.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, p)
			f.attest()
		}, enroll.CodeAK, "exponent"},
		{"RSA AK with SHA-384", func(f *forger) {
			rsaAK(f)
			f.ak = rsaPublic(key2048.N, 2048, true, rsassa(tpm2.TPMAlgSHA384))
			f.attest()
		}, enroll.CodeAK, "hash"},
		{"creation: wrong magic", func(f *forger) { f.created.Magic = 0 }, enroll.CodeAK, ""},
		{"creation: of another type", func(f *forger) { f.created = f.certified }, enroll.CodeAK, ""},
		{"creation: of another key", func(f *forger) {
			f.created.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCreation, &tpm2.TPMSCreationInfo{
				ObjectName: tpm2.TPM2BName{Buffer: f.name(&f.tls)},
			})
		}, enroll.CodeAK, ""},
		{"creation: other data", func(f *forger) { f.creation.OutsideInfo.Buffer = []byte{1} }, enroll.CodeAK, ""},
		{"creation: by another key", func(f *forger) {
			f.created.QualifiedSigner.Buffer = f.qualified(&f.tls)
		}, enroll.CodeAK, "endorsement hierarchy"},

		{"TLS key restricted", tls(attributes(func(a *tpm2.TPMAObject) { a.Restricted = true })), enroll.CodeTLSKey, "restricted"},
		{"TLS key not fixedTPM", tls(attributes(func(a *tpm2.TPMAObject) { a.FixedTPM = false })), enroll.CodeTLSKey, "fixedTPM"},
		{"TLS key not fixedParent", tls(attributes(func(a *tpm2.TPMAObject) { a.FixedParent = false })), enroll.CodeTLSKey, "fixedParent"},
		{
			"TLS key imported", tls(attributes(func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false })),
			enroll.CodeTLSKey, "sensitiveDataOrigin",
		},
		{"TLS key off its curve", tls(func(p *tpm2.TPMTPublic) { p.Unique = point(big.NewInt(5), big.NewInt(5), 32) }), enroll.CodeTLSKey, "point"},
		{"TLS key with RSA scheme", func(f *forger) {
			f.tls = rsaPublic(key2048.N, 2048, false, rsassa(tpm2.TPMAlgSHA256))
			f.attest()
		}, enroll.CodeTLSKey, "scheme"},
		{"certification: wrong magic", func(f *forger) { f.certified.Magic = 0x12345678 }, enroll.CodeTLSKey, ""},
		{"certification: of another type", func(f *forger) { f.certified = f.created }, enroll.CodeTLSKey, ""},
		{"certification: of the AK", func(f *forger) { f.tls = f.ak }, enroll.CodeTLSKey, ""},
		{"certification: for another EK", func(f *forger) {
			d := proto.TLSKeyQualifyingData([]byte("another"))
			f.certified.ExtraData.Buffer = d[:]
		}, enroll.CodeTLSKey, "qualifying data"},
		{"certification: without qualifying data", func(f *forger) { f.certified.ExtraData.Buffer = nil }, enroll.CodeTLSKey, "qualifying data"},
		{"certification: by another key", func(f *forger) {
			f.certified.QualifiedSigner.Buffer = f.qualified(&f.tls)
		}, enroll.CodeTLSKey, "endorsement hierarchy"},
		{"certification: of another hierarchy", func(f *forger) {
			f.certified.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{
				Name: tpm2.TPM2BName{Buffer: f.name(&f.tls)}, QualifiedName: tpm2.TPM2BName{Buffer: f.name(&f.tls)},
			})
		}, enroll.CodeTLSKey, "endorsement hierarchy"},

		{"EK not restricted", ek(attributes(func(a *tpm2.TPMAObject) { a.Restricted = false })), enroll.CodeEK, "restricted"},
		{"EK not fixedTPM", ek(attributes(func(a *tpm2.TPMAObject) { a.FixedTPM = false })), enroll.CodeEK, "fixedTPM"},
		{"EK signs", ek(attributes(func(a *tpm2.TPMAObject) { a.SignEncrypt = true })), enroll.CodeEK, "sign"},
		{"EK does not decrypt", ek(attributes(func(a *tpm2.TPMAObject) { a.Decrypt = false })), enroll.CodeEK, "decrypt"},
		{"EK noDA, for a second id", ek(attributes(func(a *tpm2.TPMAObject) { a.NoDA = true })), enroll.CodeEK, "noDA"},
		{"EK half of a high template", ek(attributes(func(a *tpm2.TPMAObject) { a.UserWithAuth = true })), enroll.CodeEK, "templates"},
		{"EK with another policy", ek(func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer = make([]byte, 32) }), enroll.CodeEK, "templates"},
		{"EK named by SHA-384", ek(func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA384 }), enroll.CodeEK, "templates"},
		{"EK off its curve", ek(func(p *tpm2.TPMTPublic) { p.Unique = point(big.NewInt(1), big.NewInt(2), 32) }), enroll.CodeEK, "point"},
		{"EK overlong, for a second id", ek(func(p *tpm2.TPMTPublic) {
			u, _ := p.Unique.ECC()
			p.Unique = point(number(u.X.Buffer), number(u.Y.Buffer), 33)
		}), enroll.CodeEK, "coordinate"},
		{"EK is the AK", func(f *forger) { f.ek = f.ak; f.attest() }, enroll.CodeEK, ""},
		{"EK of RSA with exponent 3", func(f *forger) {
			f.ek = tpm2.RSAEKTemplate
			p, _ := f.ek.Parameters.RSADetail()
			odd := *p
			odd.Exponent = 3
			f.ek.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &odd)
			f.ek.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key2048.N.Bytes()})
			f.attest()
		}, enroll.CodeEK, "exponent"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVerifier(t, firstUse)
			f := newForger(t)
			tc.change(f)
			h := f.hello()
			down := v.send(t, h.DeviceID(), &proto.EnrollUp{Hello: encode(t, h), Token: v.token(t, 1)})
			if tc.want == "" {
				if down.Challenge == nil {
					t.Errorf("%s, want a challenge", show(down))
				}
				return
			}
			wantCode(t, tc.name, down, tc.want)
			if down.Denied != nil && !strings.Contains(down.Denied.Message, tc.reason) {
				t.Errorf("message %q, want the reason %q", down.Denied.Message, tc.reason)
			}
		})
	}
}

func number(b []byte) *big.Int { return new(big.Int).SetBytes(b) }

// TestTrailingBytes appends a byte to every structure of a good hello, and cuts one off.
func TestTrailingBytes(t *testing.T) {
	v := newVerifier(t, firstUse)
	for name, field := range map[string]func(*proto.Hello) *[]byte{
		"EK": func(h *proto.Hello) *[]byte { return &h.EKPublic },
		"AK": func(h *proto.Hello) *[]byte { return &h.AK.Public }, "AK creation": func(h *proto.Hello) *[]byte { return &h.AK.CreationData },
		"AK attest": func(h *proto.Hello) *[]byte { return &h.AK.Attest }, "AK sig": func(h *proto.Hello) *[]byte { return &h.AK.Signature },
		"TLS": func(h *proto.Hello) *[]byte { return &h.TLS.Public }, "TLS attest": func(h *proto.Hello) *[]byte { return &h.TLS.Attest },
		"TLS sig": func(h *proto.Hello) *[]byte { return &h.TLS.Signature },
	} {
		for _, change := range []func([]byte) []byte{
			func(b []byte) []byte { return append(bytes.Clone(b), 0) },
			func(b []byte) []byte { return b[:len(b)-1] },
		} {
			h := newForger(t).hello()
			*field(h) = change(*field(h))
			down := v.send(t, h.DeviceID(), &proto.EnrollUp{Hello: encode(t, h), Token: v.token(t, 1)})
			if down.Denied == nil {
				t.Errorf("%s of another length: %s", name, show(down))
			}
		}
	}
}

// TestSplicedKeys mixes keys of two real TPMs (ATTACKS rows 7 and 9): none of the mixtures gets a certificate.
func TestSplicedKeys(t *testing.T) {
	a, b := newDevice(t, nil), newDevice(t, nil)
	v := newVerifier(t, firstUse)
	for name, mix := range map[string]func(h, other *proto.Hello){
		"another's EK":      func(h, o *proto.Hello) { h.EKPublic, h.EKCertificates = o.EKPublic, o.EKCertificates },
		"another's AK":      func(h, o *proto.Hello) { h.AK = o.AK },
		"another's TLS key": func(h, o *proto.Hello) { h.TLS = o.TLS },
		"another's AK and TLS key": func(h, o *proto.Hello) {
			h.AK, h.TLS = o.AK, o.TLS
		},
		"AK public only": func(h, o *proto.Hello) { h.AK.Public = o.AK.Public },
	} {
		h := a.newHello(t)
		mix(h, b.newHello(t))
		down := v.send(t, h.DeviceID(), &proto.EnrollUp{Hello: encode(t, h), Token: v.token(t, 1)})
		if down.Denied == nil {
			t.Errorf("%s: %s, want denied", name, show(down))
		}
	}
	// With the other's keys certified for this EK, as b's TPM would do for an attacker who owns it, only the credential
	// is left.
	h := a.newHello(t)
	f := newForger(t)
	ek, err := tpm2.Unmarshal[tpm2.TPMTPublic](h.EKPublic)
	if err != nil {
		t.Fatal(err)
	}
	f.ek = *ek
	f.attest()
	hello := encode(t, f.hello())
	token := v.token(t, 1)
	down := v.send(t, a.DeviceID(), &proto.EnrollUp{Hello: hello, Token: token})
	if down.Challenge == nil {
		t.Fatalf("%s, want a challenge", show(down))
	}
	for _, d := range []*device{a, b} {
		if got, err := d.Activate(down.Challenge.Credential, down.Challenge.Secret); err == nil {
			t.Errorf("a TPM without this AK activated the credential: %x", got)
		}
	}
	up := &proto.EnrollUp{Proof: &proto.EnrollProof{Hello: hello, Nonce: down.Challenge.Nonce, Answer: make([]byte, 32)}, Token: token}
	wantCode(t, "guess", v.send(t, a.DeviceID(), up), enroll.CodeProofWrong)
	if k := v.store.kinds(); !slices.Contains(k, enroll.EventRefused) || len(v.store.devices) != 0 {
		t.Errorf("events %v, %d records", k, len(v.store.devices))
	}
}

// TestIdentityChanged: a known EK comes with another AK, TLS key or claims (rows 7 and 8).
func TestIdentityChanged(t *testing.T) {
	v := newVerifier(t, firstUse)
	s := tpmtest.Start(t, tpmtest.Options{})
	d := deviceOf(t, s, nil)
	before := wantEnrolled(t, v, d, d.enroll(t, v, v.token(t, 1)), result.FirstUse)
	v.store.kinds()
	ek, err := tpm2.Unmarshal[tpm2.TPMTPublic](d.Endorsement().Public)
	if err != nil {
		t.Fatal(err)
	}
	forged := newForger(t)
	forged.ek = *ek
	forged.attest()
	for name, hello := range map[string]*proto.Hello{
		"other keys":   forged.hello(),
		"other model":  changedHello(t, d, func(p *proto.Platform) { p.Model = "R9" }),
		"other vendor": changedHello(t, d, func(p *proto.Platform) { p.Vendor = "Evil\nCorp" }),
	} {
		for range 3 {
			down := v.send(t, d.DeviceID(), &proto.EnrollUp{Hello: encode(t, hello), Token: v.token(t, 1)})
			wantCode(t, name, down, enroll.CodeIdentityChanged)
		}
	}
	v.store.mu.Lock()
	for _, e := range v.store.events {
		if strings.Contains(e.Detail, "\n") || e.Kind != enroll.EventIdentityChanged || e.Device != d.DeviceID() {
			t.Errorf("event %+v", e)
		}
	}
	v.store.mu.Unlock()
	if k := v.store.kinds(); len(k) != 1 {
		t.Errorf("events = %v, want one for nine attempts", k)
	}
	if after, _ := v.store.device(tenant, d.DeviceID()); !cmp.Equal(before, after) {
		t.Error("the record was changed")
	}
	for what, change := range map[string]func(*proto.Hello){ // what may change: firmware, agent, a claim that cannot be read
		"firmware and agent": func(h *proto.Hello) { h.Agent, h.Platform.FirmwareVersion = "2.0", "2.5.0" },
		"no platform":        func(h *proto.Hello) { h.Platform = nil },
	} {
		wantEnrolled(t, v, d, deviceOf(t, s, change).enroll(t, v, ""), result.FirstUse)
		if rec, _ := v.store.device(tenant, d.DeviceID()); rec.Firmware != "2.5.0" && what == "firmware and agent" || rec.Model != "R7" {
			t.Errorf("%s: record %+v", what, rec)
		}
	}
}

func changedHello(t *testing.T, d *device, change func(*proto.Platform)) *proto.Hello {
	h := d.newHello(t)
	change(h.Platform)
	return h
}

// TestConcurrentIdentities: the same TPM proves two sets of keys at once. Exactly one becomes the record, the other is
// refused and reported, whoever comes first.
func TestConcurrentIdentities(t *testing.T) {
	s := tpmtest.Start(t, tpmtest.Options{})
	first := deviceOf(t, s, nil)
	second := deviceOf(t, s, func(h *proto.Hello) { h.Platform.Model = "R9" })
	for range 10 {
		v := newVerifier(t, firstUse)
		token := v.token(t, 1)
		var group sync.WaitGroup
		var mu sync.Mutex
		var outcome []string
		ups := []*proto.EnrollUp{
			first.proof(t, first.challenge(t, v, token).Challenge, token),
			second.proof(t, second.challenge(t, v, token).Challenge, token),
		}
		for _, up := range ups {
			group.Go(func() {
				down, err := v.Handle(context.Background(), tenant, first.DeviceID(), up)
				if err != nil {
					t.Errorf("Handle: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case down.Certificate != nil:
					outcome = append(outcome, "in")
				case down.Denied != nil:
					outcome = append(outcome, down.Denied.Code)
				}
			})
		}
		group.Wait()
		slices.Sort(outcome)
		if !cmp.Equal(outcome, []string{enroll.CodeIdentityChanged, "in"}) {
			t.Fatalf("outcomes %v, want one in and one refused", outcome)
		}
		if k := v.store.kinds(); !slices.Contains(k, enroll.EventIdentityChanged) {
			t.Errorf("events %v lack %s", k, enroll.EventIdentityChanged)
		}
	}
}

// TestOtherTopic: a hello on another device's topic.
func TestOtherTopic(t *testing.T) {
	v := newVerifier(t, firstUse)
	d := newDevice(t, nil)
	token := v.token(t, 1)
	wantCode(t, "another's topic", v.send(t, strings.Repeat("a", 64), &proto.EnrollUp{Hello: d.hello, Token: token}), enroll.CodeDevice)
}

// TestFlippedProof flips a bit of every byte of a proof: none gets a certificate, nothing is recorded, and a wrong
// answer is always refused in the same words (row 17).
func TestFlippedProof(t *testing.T) {
	ca := newCA(t)
	d := newDevice(t, ca)
	v := newVerifier(t, firstUse)
	token := v.token(t, 1)
	good := d.proof(t, d.challenge(t, v, token).Challenge, token)
	texts := make(map[string]bool)
	try := func(what string, at int, change func(*proto.EnrollProof)) {
		p := &proto.EnrollProof{
			Hello: bytes.Clone(good.Proof.Hello), Nonce: bytes.Clone(good.Proof.Nonce), Answer: bytes.Clone(good.Proof.Answer),
		}
		change(p)
		down := v.send(t, d.DeviceID(), &proto.EnrollUp{Proof: p, Token: token})
		if down.Denied == nil {
			t.Errorf("%s, byte %d: %s, want denied", what, at, show(down))
		} else if down.Denied.Code == enroll.CodeProofWrong {
			texts[down.Denied.Message] = true
		}
	}
	for at := range good.Proof.Hello {
		try("hello", at, func(p *proto.EnrollProof) { p.Hello[at] ^= 1 << (at % 8) })
	}
	for at := range 32 {
		for bit := range 8 {
			try("nonce", at, func(p *proto.EnrollProof) { p.Nonce[at] ^= 1 << bit })
			try("answer", at, func(p *proto.EnrollProof) { p.Answer[at] ^= 1 << bit })
		}
		try("answer's length", at, func(p *proto.EnrollProof) { p.Answer = p.Answer[:at] })
	}
	try("answer's length", 33, func(p *proto.EnrollProof) { p.Answer = append(p.Answer, 0) })
	if len(texts) != 1 || len(v.store.devices) != 0 {
		t.Errorf("%d texts for wrong answers, want 1; %d records, want 0", len(texts), len(v.store.devices))
	}
	wantEnrolled(t, v, d, v.send(t, d.DeviceID(), good), result.FirstUse)
}

// FuzzHello feeds mutated hellos of a real TPM: no panic, and never anything better than a challenge.
func FuzzHello(f *testing.F) {
	d := newDevice(f, newCA(f))
	if len(d.hello) == 0 {
		f.Fatal("no seed: a fuzz test without seeds finds nothing")
	}
	h := newForger(f).hello()
	for _, k := range []*proto.CertifiedKey{h.AK, h.TLS} {
		f.Add(h.EKPublic, k.Public, k.CreationData, k.Attest, k.Signature)
	}
	real := d.newHello(f)
	for _, k := range []*proto.CertifiedKey{real.AK, real.TLS} {
		f.Add(real.EKPublic, k.Public, k.CreationData, k.Attest, k.Signature)
	}
	v := newVerifier(f, firstUse)
	token := v.token(f, 1)
	f.Fuzz(func(t *testing.T, ek, public, creation, attest, signature []byte) {
		k := &proto.CertifiedKey{Public: public, CreationData: creation, Attest: attest, Signature: signature}
		for _, m := range []*proto.Hello{
			{EKPublic: ek, AK: k, TLS: k}, {EKPublic: ek, AK: k, TLS: real.TLS}, {EKPublic: real.EKPublic, AK: real.AK, TLS: k},
		} {
			b, err := proto.Encode(m)
			if err != nil {
				return
			}
			down, err := v.Handle(context.Background(), tenant, m.DeviceID(), &proto.EnrollUp{Hello: b, Token: token})
			if err != nil || down.Denied == nil && down.Challenge == nil {
				t.Fatalf("Handle = %+v, %v", down, err)
			}
		}
	})
}
