package enroll_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func newCA(t testing.TB) *tpmtest.CA {
	t.Helper()
	ca, err := tpmtest.NewCA("Maker")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// wantEnrolled checks the certificate, the record and the level.
func wantEnrolled(t *testing.T, v *verifier, d *device, down *proto.EnrollDown, level result.Level) store.Device {
	t.Helper()
	if down.Certificate == nil || down.Certificate.Level != string(level) {
		t.Fatalf("%s, want a certificate with level %s", show(down), level)
	}
	cert, err := x509.ParseCertificate(down.Certificate.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	who, id, err := v.authority.Device(cert)
	if err != nil || who != tenant || id != d.DeviceID() {
		t.Errorf("certificate is for %s/%s, %v", who, id, err)
	}
	spki, err := x509.MarshalPKIXPublicKey(d.TLSSigner().Public())
	if err != nil || !bytes.Equal(spki, cert.RawSubjectPublicKeyInfo) {
		t.Errorf("certificate is for another key than the TPM's: %v", err)
	}
	life := uint32(cert.NotAfter.Sub(v.Now()).Seconds())
	if r := down.Certificate.Renew; r == 0 || r >= life {
		t.Errorf("renew after %d s of %d s", r, life)
	}
	got, ok := v.store.device(tenant, d.DeviceID())
	if !ok || got.Status != store.Active || got.Level != level || !bytes.Equal(got.TLSPublic, spki) ||
		!bytes.Equal(got.EKPublic, d.Endorsement().Public) || len(got.AKPublic) == 0 ||
		got.CertSerial != cert.SerialNumber.Text(16) || !got.CertExpires.Equal(cert.NotAfter) || got.EnrolledAt.IsZero() {
		t.Errorf("record = %+v", got)
	}
	return got
}

// TestLevels enrols a device with every kind of EK at every level.
func TestLevels(t *testing.T) {
	ca := newCA(t)
	for _, kind := range []tpmtest.Kind{tpmtest.P256, tpmtest.P256High, tpmtest.P384, tpmtest.RSA2048, tpmtest.RSA2048High} {
		t.Run(string(kind), func(t *testing.T) {
			d := newDevice(t, ca, kind)
			v := newVerifier(t, nil)
			if err := ca.WriteRoot(v.roots); err != nil {
				t.Fatal(err)
			}
			got := wantEnrolled(t, v, d, d.enroll(t, v, v.token(t, 1)), result.Certified)
			if !strings.Contains(got.EKIssuer, "Maker Intermediate") || got.Vendor != "Acme" || got.Model != "R7" ||
				got.Firmware != "2.4.1" || got.Agent != "1.0" || got.State != result.NeverAttested {
				t.Errorf("record = %+v", got)
			}
			if k := v.store.kinds(); !cmp.Equal(k, []string{enroll.EventEnrolled}) {
				t.Errorf("events = %v", k)
			}

			v = newVerifier(t, nil) // no root
			v.store.put(store.Device{Tenant: tenant, ID: d.DeviceID(), Status: store.Approved})
			wantEnrolled(t, v, d, d.enroll(t, v, ""), result.Pinned)
			wantEnrolled(t, v, d, d.enroll(t, v, ""), result.Pinned)
			if k := v.store.kinds(); !cmp.Equal(k, []string{enroll.EventUnverified, enroll.EventEnrolled, enroll.EventRenewed}) {
				t.Errorf("events = %v", k)
			}

			v = newVerifier(t, firstUse)
			wantEnrolled(t, v, d, d.enroll(t, v, v.token(t, 1)), result.FirstUse)
			if k := v.store.kinds(); !cmp.Equal(k, []string{enroll.EventUnverified, enroll.EventEnrolled}) {
				t.Errorf("events = %v", k)
			}
		})
	}
}

func TestPendingAndApproval(t *testing.T) {
	v := newVerifier(t, nil)
	d := newDevice(t, nil)
	token := v.token(t, 1)
	for range 3 {
		if down := d.enroll(t, v, token); down.Pending == nil || down.Pending.Retry == 0 {
			t.Fatalf("%s, want pending", show(down))
		}
	}
	if k := v.store.kinds(); !cmp.Equal(k, []string{enroll.EventPending}) {
		t.Errorf("events = %v, want one for three attempts", k)
	}
	if down := d.enroll(t, v, ""); down.Pending == nil { // its token may have ended meanwhile
		t.Errorf("without the token: %s, want pending", show(down))
	}
	rec, ok := v.store.device(tenant, d.DeviceID())
	if !ok || rec.Status != store.Pending || len(rec.AKPublic) == 0 || !rec.EnrolledAt.IsZero() || rec.CertSerial != "" {
		t.Errorf("record = %+v", rec)
	}
	wantCode(t, "second device on the token", newDevice(t, nil).enroll(t, v, token), enroll.CodeTokenUsed)
	rec.Status = store.Approved
	v.store.put(rec)
	wantEnrolled(t, v, d, d.enroll(t, v, ""), result.Pinned)
	v.store.remove(tenant, d.DeviceID())
	wantCode(t, "removed device", d.enroll(t, v, ""), enroll.CodeTokenMissing)
}

func TestSoftware(t *testing.T) {
	v := newVerifier(t, firstUse)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	hello := encode(t, &proto.Hello{Agent: "1.0", Software: spki})
	id := proto.DeviceID(spki)
	run := func(signer *ecdsa.PrivateKey, token string) *proto.EnrollDown {
		down := v.send(t, id, &proto.EnrollUp{Hello: hello, Token: token})
		if down.Challenge == nil {
			return down
		}
		if len(down.Challenge.Credential) != 0 || len(down.Challenge.Secret) != 0 {
			t.Error("a device without a TPM got a credential")
		}
		digest := proto.EnrollMessage(down.Challenge.Nonce, hello)
		sig, err := ecdsa.SignASN1(rand.Reader, signer, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return v.send(t, id, &proto.EnrollUp{
			Proof: &proto.EnrollProof{Hello: hello, Nonce: down.Challenge.Nonce, Answer: sig}, Token: token,
		})
	}
	wantCode(t, "without token", run(key, ""), enroll.CodeTokenMissing)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token := v.token(t, 1)
	wantCode(t, "another key's signature", run(other, token), enroll.CodeProofWrong)
	if down := run(key, token); down.Pending == nil {
		t.Fatalf("%s, want pending: trust on first use is for TPMs", show(down))
	}
	rec, _ := v.store.device(tenant, id)
	rec.Status = store.Approved
	v.store.put(rec)
	for range 2 {
		if down := run(key, ""); down.Certificate == nil || down.Certificate.Level != string(result.Software) {
			t.Fatalf("%s, want a certificate with level software", show(down))
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := x509.MarshalPKIXPublicKey(p384.Public())
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{"P-384": bad, "rubbish": {1, 2, 3}, "trailing byte": append(bytes.Clone(spki), 0)} {
		down := v.send(t, proto.DeviceID(b), &proto.EnrollUp{Hello: encode(t, &proto.Hello{Software: b}), Token: token})
		wantCode(t, what, down, enroll.CodeSoftwareKey)
	}
}

func TestTokens(t *testing.T) {
	ca := newCA(t)
	d := newDevice(t, ca)
	v := newVerifier(t, nil)
	if err := ca.WriteRoot(v.roots); err != nil {
		t.Fatal(err)
	}
	edit := func(change func(*store.Token)) string {
		text := v.token(t, 1)
		v.changeToken(t, text, change)
		return text
	}
	operator, tok, err := enroll.NewToken(enroll.OperatorToken, tenant)
	if err != nil {
		t.Fatal(err)
	}
	tok.Uses, tok.Expires = 1, v.Now().Add(time.Hour)
	v.store.tokens[tok.ID] = tok
	good := v.token(t, 1)
	wrongSecret := good[:len(good)-2] + "AA"
	if wrongSecret == good {
		wrongSecret = good[:len(good)-2] + "EA"
	}
	for what, tc := range map[string]struct{ token, code string }{
		"none":              {"", enroll.CodeTokenMissing},
		"rubbish":           {"rubbish", enroll.CodeTokenUnknown},
		"unknown":           {"pbt1.acme.0123456789abcdef." + strings.Repeat("A", 43), enroll.CodeTokenUnknown},
		"wrong secret":      {wrongSecret, enroll.CodeTokenUnknown},
		"another tenant's":  {strings.Replace(good, "."+tenant+".", ".other.", 1), enroll.CodeTokenUnknown},
		"tenant in store":   {edit(func(t *store.Token) { t.Tenant = "other" }), enroll.CodeTokenUnknown},
		"an operator's":     {operator, enroll.CodeTokenUnknown},
		"operator as pbt1":  {strings.Replace(operator, "pbo1", "pbt1", 1), enroll.CodeTokenUnknown},
		"expired":           {edit(func(t *store.Token) { t.Expires = v.Now() }), enroll.CodeTokenExpired},
		"revoked":           {edit(func(t *store.Token) { t.Revoked = true }), enroll.CodeTokenExpired},
		"used":              {edit(func(t *store.Token) { t.Uses = 0 }), enroll.CodeTokenUsed},
		"used by another":   {edit(func(t *store.Token) { t.Uses, t.Devices = 0, []string{"x"} }), enroll.CodeTokenUsed},
		"longer than a bus": {strings.Repeat("x", 300), enroll.CodeTokenUnknown},
	} {
		down := d.enroll(t, v, tc.token)
		wantCode(t, what, down, tc.code)
		if down.Denied != nil && !strings.Contains(down.Denied.Message, "probity token create") {
			t.Errorf("%s: %q does not say what to do", what, down.Denied.Message)
		}
	}
	if len(v.store.devices) != 0 {
		t.Error("a device without a valid token was recorded")
	}
	// A failed proof uses nothing up; between hello and proof a token may end.
	c := d.challenge(t, v, good).Challenge
	bad := d.proof(t, c, good)
	bad.Proof.Answer = bytes.Repeat([]byte{1}, 32)
	wantCode(t, "wrong answer", v.send(t, d.DeviceID(), bad), enroll.CodeProofWrong)
	v.changeToken(t, good, func(t *store.Token) { t.Uses = 0 })
	wantCode(t, "used meanwhile", v.send(t, d.DeviceID(), d.proof(t, c, good)), enroll.CodeTokenUsed)
	v.changeToken(t, good, func(t *store.Token) { t.Uses = 1 })
	wantEnrolled(t, v, d, v.send(t, d.DeviceID(), d.proof(t, c, good)), result.Certified)
	v.store.remove(tenant, d.DeviceID())
	wantEnrolled(t, v, d, d.enroll(t, v, good), result.Certified) // the device that it let in may use it again
}

// TestTokenRace has more devices than a token admits come at once.
func TestTokenRace(t *testing.T) {
	v := newVerifier(t, firstUse)
	token := v.token(t, 2)
	devices := make([]*device, 5)
	ups := make([]*proto.EnrollUp, len(devices))
	for i := range devices {
		devices[i] = newDevice(t, nil)
		ups[i] = devices[i].proof(t, devices[i].challenge(t, v, token).Challenge, token)
	}
	var group sync.WaitGroup
	downs := make([]*proto.EnrollDown, len(devices))
	for i, d := range devices {
		group.Go(func() { downs[i] = v.send(t, d.DeviceID(), ups[i]) })
	}
	group.Wait()
	in := 0
	for _, down := range downs {
		if down.Certificate != nil {
			in++
			continue
		}
		wantCode(t, "late", down, enroll.CodeTokenUsed)
	}
	if in != 2 || len(v.store.devices) != 2 {
		t.Errorf("%d devices let in, %d recorded, want 2", in, len(v.store.devices))
	}
}

func TestRenewal(t *testing.T) {
	ca := newCA(t)
	v := newVerifier(t, nil)
	if err := ca.WriteRoot(v.roots); err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, ca)
	first := wantEnrolled(t, v, d, d.enroll(t, v, v.token(t, 1)), result.Certified)
	first.State, first.StaleAt, first.Since = result.Trusted, v.Now().Add(time.Hour), v.Now()
	first.Label, first.Record, first.Result = "cell 17", []byte("record"), []byte("EAR")
	v.store.put(first)
	first, _ = v.store.device(tenant, d.DeviceID())
	v.add(time.Minute)
	next := wantEnrolled(t, v, d, d.enroll(t, v, ""), result.Certified)
	if next.CertSerial == first.CertSerial {
		t.Error("the certificate is the old one")
	}
	next.CertSerial, next.CertExpires, next.Version = first.CertSerial, first.CertExpires, first.Version
	if diff := cmp.Diff(first, next); diff != "" {
		t.Errorf("a renewal changed the record (-before +after):\n%s", diff)
	}

	// Withheld while untrusted, also when the result comes between hello and proof; given again when it is stale or
	// good.
	c := d.challenge(t, v, "").Challenge
	rec, _ := v.store.device(tenant, d.DeviceID())
	rec.State = result.Untrusted
	v.store.put(rec)
	before, _ := v.store.device(tenant, d.DeviceID())
	v.store.kinds()
	for range 3 {
		down := d.challenge(t, v, "")
		wantCode(t, "untrusted, hello", down, enroll.CodeWithheld)
		if down.Denied.Retry == 0 {
			t.Error("the device is told never to ask again")
		}
		wantCode(t, "untrusted, proof", v.send(t, d.DeviceID(), d.proof(t, c, "")), enroll.CodeWithheld)
	}
	if k := v.store.kinds(); !cmp.Equal(k, []string{enroll.EventWithheld}) {
		t.Errorf("events = %v, want one", k)
	}
	v.add(2 * time.Hour)
	if rec.Current(v.Now()) != result.Stale {
		t.Errorf("state = %s, want stale", rec.Current(v.Now()))
	}
	wantCode(t, "silent since it was untrusted", d.challenge(t, v, ""), enroll.CodeWithheld)
	if after, _ := v.store.device(tenant, d.DeviceID()); !cmp.Equal(before, after) {
		t.Error("the record was changed")
	}
	for _, s := range []result.State{result.Warning, result.Unsupported, result.Trusted} {
		rec, _ = v.store.device(tenant, d.DeviceID())
		rec.State, rec.StaleAt = s, v.Now().Add(time.Hour)
		v.store.put(rec)
		wantEnrolled(t, v, d, d.enroll(t, v, ""), result.Certified)
	}
}

// TestLostRoot: a device that was certified and no longer is.
func TestLostRoot(t *testing.T) {
	ca := newCA(t)
	for name, tc := range map[string]struct {
		config func(*enroll.Config)
		event  string
	}{"strict": {nil, enroll.EventUnverified}, "first use": {firstUse, enroll.EventLevelChanged}} {
		v := newVerifier(t, tc.config)
		if err := ca.WriteRoot(v.roots); err != nil {
			t.Fatal(err)
		}
		d := newDevice(t, ca)
		wantEnrolled(t, v, d, d.enroll(t, v, v.token(t, 1)), result.Certified)
		empty(t, v.roots)
		down := d.enroll(t, v, "")
		if tc.config == nil {
			wantCode(t, name, down, enroll.CodeUnverified)
			if down.Denied.Retry == 0 {
				t.Error("the device is told never to ask again")
			}
		} else {
			wantEnrolled(t, v, d, down, result.FirstUse)
		}
		if k := v.store.kinds(); !slices.Contains(k, tc.event) || !slices.Contains(k, enroll.EventUnverified) {
			t.Errorf("%s: events = %v, want %s and the reason", name, k, tc.event)
		}
		if err := ca.WriteRoot(v.roots); err != nil {
			t.Fatal(err)
		}
		wantEnrolled(t, v, d, d.enroll(t, v, ""), result.Certified)
	}
}

func TestNonces(t *testing.T) {
	v := newVerifier(t, firstUse)
	d, other := newDevice(t, nil), newDevice(t, nil)
	token := v.token(t, 9)
	c := d.challenge(t, v, token).Challenge
	good := d.proof(t, c, token)
	for what, nonce := range map[string][]byte{
		"zeros": make([]byte, 32), "another device's": other.challenge(t, v, token).Challenge.Nonce,
		"short": c.Nonce[:31], "newer, unanswered": d.challenge(t, v, token).Challenge.Nonce,
	} {
		up := d.proof(t, c, token)
		up.Proof.Nonce = nonce
		want := enroll.CodeNonceForeign
		if what == "newer, unanswered" {
			want = enroll.CodeProofWrong
		}
		wantCode(t, what, v.send(t, d.DeviceID(), up), want)
	}
	keys, err := challenge.New(make([]byte, challenge.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	up := d.proof(t, c, token)
	up.Proof.Nonce = keys.Issue(challenge.Evidence, tenant, d.DeviceID(), v.Now())
	wantCode(t, "of evidence", v.send(t, d.DeviceID(), up), enroll.CodeNonceForeign)
	if _, err := v.Handle(context.Background(), "other", d.DeviceID(), good); err != nil {
		t.Fatal(err)
	}
	if len(v.store.devices) != 0 {
		t.Error("a nonce of another tenant let the device in")
	}
	v.add(enroll.DefaultProofTime + time.Second)
	wantCode(t, "expired", v.send(t, d.DeviceID(), good), enroll.CodeNonceExpired)
}

// TestStoreFaults fails every call to the store once: no answer goes out, nothing is half done, the next attempt works.
func TestStoreFaults(t *testing.T) {
	d := newDevice(t, nil)
	for n := range 20 {
		v := newVerifier(t, firstUse)
		token := v.token(t, 1)
		broken := errors.New("disk full")
		calls, hit := 0, false
		v.store.setFault(func(string) error {
			calls++
			if calls == n+1 {
				hit = true
				return broken
			}
			return nil
		})
		run := func() (*proto.EnrollDown, error) {
			down, err := v.Handle(context.Background(), tenant, d.DeviceID(), &proto.EnrollUp{Hello: d.hello, Token: token})
			if err != nil {
				return nil, err
			}
			return v.Handle(context.Background(), tenant, d.DeviceID(), d.proof(t, down.Challenge, token))
		}
		down, err := run()
		if !hit {
			if down == nil || down.Certificate == nil {
				t.Fatalf("without a fault: %v, %v", down, err)
			}
			return
		}
		if !errors.Is(err, broken) || down != nil {
			t.Errorf("fault at call %d: %v, %v, want the error and no answer", n+1, down, err)
		}
		if down, err := run(); err != nil || down.Certificate == nil {
			t.Errorf("after the fault at call %d: %v, %v", n+1, down, err)
		}
	}
	t.Error("more than 20 calls to the store")
}

// TestConflicts: an appraisal writes the record while a renewal runs; both survive.
func TestConflicts(t *testing.T) {
	v := newVerifier(t, firstUse)
	d := newDevice(t, nil)
	wantEnrolled(t, v, d, d.enroll(t, v, v.token(t, 1)), result.FirstUse)
	writes := 3
	v.store.setFault(func(call string) error {
		if call == "SaveDevice" && writes > 0 {
			writes--
			rec, _ := v.store.device(tenant, d.DeviceID())
			rec.State, rec.StaleAt, rec.Label = result.Trusted, v.Now().Add(time.Hour), "labelled meanwhile"
			v.store.put(rec)
		}
		return nil
	})
	rec := wantEnrolled(t, v, d, d.enroll(t, v, ""), result.FirstUse)
	if rec.Label != "labelled meanwhile" || rec.State != result.Trusted || writes != 0 {
		t.Errorf("the other writer's change is lost: %+v", rec)
	}
	v.store.setFault(func(call string) error {
		if call == "SaveDevice" {
			return store.ErrConflict
		}
		return nil
	})
	down := d.challenge(t, v, "")
	if _, err := v.Handle(context.Background(), tenant, d.DeviceID(), d.proof(t, down.Challenge, "")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("endless conflicts: %v, want ErrConflict", err)
	}
}

func TestConfig(t *testing.T) {
	if _, err := enroll.New(enroll.Config{}); err == nil {
		t.Error("New without store, issuer and keys passed")
	}
	v := newVerifier(t, nil)
	for _, who := range [][2]string{{"", strings.Repeat("a", 64)}, {"a/b", strings.Repeat("a", 64)}, {tenant, "x"}} {
		if _, err := v.Handle(context.Background(), who[0], who[1], &proto.EnrollUp{}); err == nil {
			t.Errorf("Handle for %v passed", who)
		}
	}
	wantCode(t, "empty", v.send(t, strings.Repeat("a", 64), &proto.EnrollUp{}), enroll.CodeMalformed)
}
