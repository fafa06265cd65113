package enroll_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/agent/tpm"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/authority"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/store"
)

const tenant = "acme"

// verifier is an Enroller with everything around it.
type verifier struct {
	*enroll.Enroller
	store     *memory
	authority *authority.Authority
	roots     string // folder of TPM makers' certificates
	mu        sync.Mutex
	now       time.Time
}

func (v *verifier) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

func (v *verifier) add(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = v.now.Add(d)
}

func newVerifier(t testing.TB, change func(*enroll.Config)) *verifier {
	t.Helper()
	v := &verifier{store: newMemory(), roots: t.TempDir(), now: time.Now()}
	var err error
	if v.authority, err = authority.Open(authority.Config{Dir: t.TempDir(), Now: v.Now}); err != nil {
		t.Fatal(err)
	}
	keys, err := challenge.New(make([]byte, challenge.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	c := enroll.Config{
		Store: v.store, Issuer: v.authority, Keys: keys, Roots: v.roots, Now: v.Now, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	if v.Enroller, err = enroll.New(c); err != nil {
		t.Fatal(err)
	}
	return v
}

func firstUse(c *enroll.Config) { c.FirstUse = true }

// token adds an enrolment token and returns it.
func (v *verifier) token(t testing.TB, uses int) string {
	t.Helper()
	text, tok, err := enroll.NewToken(enroll.DeviceToken, tenant)
	if err != nil {
		t.Fatal(err)
	}
	tok.Uses, tok.Created, tok.Expires = uses, v.Now(), v.Now().Add(time.Hour)
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	v.store.tokens[tok.ID] = tok
	return text
}

// changeToken edits a stored token.
func (v *verifier) changeToken(t testing.TB, text string, change func(*store.Token)) {
	t.Helper()
	p, err := enroll.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	tok := v.store.tokens[p.ID]
	change(&tok)
	v.store.tokens[p.ID] = tok
}

// send is one message to the verifier.
func (v *verifier) send(t testing.TB, device string, up *proto.EnrollUp) *proto.EnrollDown {
	t.Helper()
	down, err := v.Handle(context.Background(), tenant, device, up)
	if err != nil {
		t.Fatalf("Handle: %v", err)
	}
	if _, err := proto.Encode(down); err != nil {
		t.Fatalf("the answer cannot be sent: %v", err)
	}
	return down
}

// device is one that has a TPM.
type device struct {
	*tpm.TPM
	hello []byte
}

func newDevice(t testing.TB, ca *tpmtest.CA, kinds ...tpmtest.Kind) *device {
	t.Helper()
	s := tpmtest.Start(t, tpmtest.Options{})
	if ca != nil {
		if err := tpmtest.Manufacture(s.Transport(t), ca, kinds...); err != nil {
			t.Fatal(err)
		}
	}
	return deviceOf(t, s, nil)
}

func deviceOf(t testing.TB, s *tpmtest.Swtpm, change func(*proto.Hello)) *device {
	t.Helper()
	d := &device{TPM: s.TPM(t)}
	h := d.newHello(t)
	if change != nil {
		change(h)
	}
	d.hello = encode(t, h)
	return d
}

func (d *device) newHello(t testing.TB) *proto.Hello {
	t.Helper()
	ak, err := d.AK()
	if err != nil {
		t.Fatal(err)
	}
	tls, err := d.TLSKey()
	if err != nil {
		t.Fatal(err)
	}
	e := d.Endorsement()
	return &proto.Hello{
		Agent: "1.0", EKPublic: e.Public, EKCertificates: e.Certificates, AK: &ak, TLS: &tls,
		Platform: &proto.Platform{Vendor: "Acme", Model: "R7", FirmwareVersion: "2.4.1"},
	}
}

func encode(t testing.TB, h *proto.Hello) []byte {
	t.Helper()
	b, err := proto.Encode(h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// challenge sends the hello and returns the verifier's answer.
func (d *device) challenge(t testing.TB, v *verifier, token string) *proto.EnrollDown {
	t.Helper()
	return v.send(t, d.DeviceID(), &proto.EnrollUp{Hello: d.hello, Token: token})
}

// proof answers a challenge.
func (d *device) proof(t testing.TB, c *proto.EnrollChallenge, token string) *proto.EnrollUp {
	t.Helper()
	secret, err := d.Activate(c.Credential, c.Secret)
	if err != nil {
		t.Fatalf("Activate: %v", err)
	}
	return &proto.EnrollUp{Proof: &proto.EnrollProof{Hello: d.hello, Nonce: c.Nonce, Answer: secret}, Token: token}
}

// enroll runs the whole exchange and returns its end.
func (d *device) enroll(t testing.TB, v *verifier, token string) *proto.EnrollDown {
	t.Helper()
	down := d.challenge(t, v, token)
	if down.Challenge == nil {
		return down
	}
	return v.send(t, d.DeviceID(), d.proof(t, down.Challenge, token))
}

func wantCode(t testing.TB, what string, down *proto.EnrollDown, code string) {
	t.Helper()
	if down.Denied == nil || down.Denied.Code != code {
		t.Errorf("%s: %s, want denied with %s", what, show(down), code)
	}
}

func show(down *proto.EnrollDown) string {
	switch {
	case down.Denied != nil:
		return "denied: " + down.Denied.Code + ": " + down.Denied.Message
	case down.Pending != nil:
		return "pending: " + down.Pending.Message
	case down.Certificate != nil:
		return "certificate, " + down.Certificate.Level
	}
	return "challenge"
}

func keys(t testing.TB) *challenge.Keys {
	t.Helper()
	k, err := challenge.New(make([]byte, challenge.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}
