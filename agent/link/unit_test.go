package link

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/probity-attest/probity/proto"
)

func TestFullJitter(t *testing.T) {
	draw := 0.0
	b := backoff{min: time.Second, max: 10 * time.Second, jitter: func() float64 { return draw }}
	for _, want := range []time.Duration{0, 0, 0} {
		if got := b.next(); got != want {
			t.Errorf("lowest draw waits %s, want %s", got, want)
		}
	}
	b.reset()
	draw = 1
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		if got := b.next(); got != want*time.Second {
			t.Errorf("highest draw waits %s, want %ds", got, want)
		}
	}
	b.reset()
	draw = 0
	for _, want := range []time.Duration{500, 1000, 2000, 4000, 5000, 5000} {
		if got := b.atLeastHalf(); got != want*time.Millisecond {
			t.Errorf("lowest repetition waits %s, want %dms", got, want)
		}
	}
	if got := seconds(0); got != time.Second {
		t.Errorf("seconds(0) = %s, want no busy loop", got)
	}
	if got := seconds(1<<32 - 1); got != maxNext {
		t.Errorf("seconds(max) = %s, want %s", got, maxNext)
	}
}

func TestHealthy(t *testing.T) {
	c := newManualClock()
	l, err := New(Config{
		Server: "mqtts://h", CAFingerprint: "sha256:" + strings.Repeat("ab", 32), Token: token,
		Device: newDevice(t), Attester: &attester{}, Clock: c,
	})
	if err != nil {
		t.Fatal(err)
	}
	end := l.watch.begin("making evidence")
	c.advance(5 * time.Minute)
	if err := l.Healthy(); err != nil {
		t.Errorf("Healthy = %v while the operation may still run", err)
	}
	c.advance(time.Second)
	if err := l.Healthy(); err == nil || !strings.Contains(err.Error(), "making evidence") {
		t.Errorf("Healthy = %v, want what hangs", err)
	}
	end()
	if err := l.Healthy(); err != nil {
		t.Errorf("Healthy = %v after the operation", err)
	}
}

// TestVerify covers chains that a TLS library would not send by itself.
func TestVerify(t *testing.T) {
	ca, other, d := newAuthority(t), newAuthority(t), newDevice(t)
	parse := func(chain [][]byte) []*x509.Certificate {
		var out []*x509.Certificate
		for _, der := range chain {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, c)
		}
		return out
	}
	issue := func(a *authority, use x509.ExtKeyUsage) []*x509.Certificate {
		return parse(a.issue(t, pkix.Name{CommonName: "h"}, d.key.Public(), use, func(c *x509.Certificate) { c.DNSNames = []string{"h"} }))
	}
	good := issue(ca, x509.ExtKeyUsageServerAuth)
	pin := func(c *x509.Certificate) trust {
		sum := proto.Sum(c.Raw)
		return trust{fingerprint: sum[:]}
	}
	now := time.Now()
	for _, tt := range []struct {
		name  string
		trust trust
		chain []*x509.Certificate
		now   time.Time
		want  string
	}{
		{"good", pin(ca.cert), good, now, ""},
		{"nothing", pin(ca.cert), nil, now, "no certificate"},
		{"CA is not sent", pin(ca.cert), good[:1], now, "configure --ca-file"},
		{"fingerprint of the server", pin(good[0]), good, now, "fingerprint of its CA"},
		{"another CA", pin(other.cert), good, now, "not the verifier"},
		{"CA is only shown", pin(ca.cert), append(issue(other, x509.ExtKeyUsageServerAuth), ca.cert), now, "unknown authority"},
		{"device certificate", pin(ca.cert), issue(ca, x509.ExtKeyUsageClientAuth), now, "key usage"},
		{"expired", pin(ca.cert), good, now.Add(2 * time.Hour), "expired"},
		{"not yet valid", pin(ca.cert), good, now.Add(-2 * time.Hour), "not yet valid"},
		{"CA as server", pin(ca.cert), []*x509.Certificate{ca.cert}, now, "not valid"},
	} {
		err := tt.trust.verify("h", tt.chain, tt.now)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: verify = %v, want %q in it", tt.name, err, tt.want)
		}
	}
	err := explain(pin(ca.cert).verify("h", good, time.Unix(0, 0)), time.Unix(0, 0))
	if err == nil || !strings.Contains(err.Error(), "clock says 1970-01-01") {
		t.Errorf("explain = %v, want a hint at the clock", err)
	}
}

func TestCertificateChecks(t *testing.T) {
	d, ca := newDevice(t), newAuthority(t)
	l, err := New(Config{
		Server: "mqtts://h", CAFingerprint: ca.fingerprint(), Token: token, Device: d, Attester: &attester{},
	})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(cn string, org []string, d *device) [][]byte {
		return ca.issue(t, pkix.Name{CommonName: cn, Organization: org}, d.key.Public(), x509.ExtKeyUsageClientAuth, nil)
	}
	for _, tt := range []struct {
		name  string
		chain [][]byte
		want  string
	}{
		{"junk", [][]byte{{1}}, "device certificate"},
		{"another key", issue(d.ID(), []string{tenant}, newDevice(t)), "another key"},
		{"another device", issue("x", []string{tenant}, d), "for device"},
		{"another tenant", issue(d.ID(), []string{"other"}, d), "for tenant"},
		{"no tenant", issue(d.ID(), nil, d), "no tenant"},
	} {
		if err := l.useCertificate(tt.chain, 0); err == nil || !strings.Contains(err.Error(), tt.want) || l.certificate != nil {
			t.Errorf("%s: useCertificate = %v, want %q in it", tt.name, err, tt.want)
		}
	}
	if err := l.useCertificate(issue(d.ID(), []string{tenant}, d), 0); err != nil {
		t.Fatal(err)
	}
	leaf := l.certificate.Leaf
	if want := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3); !l.renewAt.Equal(want) {
		t.Errorf("a stored certificate is renewed at %s, want at two thirds of its life, %s", l.renewAt, want)
	}
}

func TestChallengesAreAnsweredAFewTimes(t *testing.T) {
	x := &exchange{device: newDevice(t)}
	if _, err := x.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := &proto.EnrollDown{Challenge: &proto.EnrollChallenge{Nonce: make([]byte, proto.NonceSize)}}
	for range maxAnswers {
		if p, _, err := x.answer(t.Context(), m); err != nil || p.leaf != proto.UpEnroll {
			t.Fatalf("answer = %+v, %v", p, err)
		}
	}
	if _, _, err := x.answer(t.Context(), m); err == nil {
		t.Error("a verifier can have credentials activated without end")
	}
}

// TestHasten covers what a conversation does not hurry for.
func TestHasten(t *testing.T) {
	now := time.Unix(1e9, 0)
	began := func(jitter float64) *conversation {
		c := newConversation(Timing{}.orDefault(), func() float64 { return jitter }, "1.0")
		c.connected(now)
		c.challenge(now, &proto.Challenge{Nonce: make([]byte, proto.NonceSize), Lifetime: 60})
		if c.begin(now) == nil {
			t.Fatal("challenge was not taken up")
		}
		return c
	}
	failed := began(1)
	failed.made(now, nil, errors.New("TPM is in lockout"))
	want := failed.wake()
	if failed.hasten(now); !failed.wake().Equal(want) || want.Before(now.Add(15*time.Second)) {
		t.Errorf("after a failure the next try is in %s, want %s as before", failed.wake().Sub(now), want.Sub(now))
	}

	c := began(0)
	c.hasten(now) // while the report is made
	report := &Report{Evidence: []byte{1}}
	c.made(now, report, nil)
	receipt := &proto.Receipt{Evidence: proto.Sum(report.Evidence), Status: proto.Appraised, Next: 3600}
	if !c.receipt(now, receipt) || !c.wake().Equal(now.Add(10*time.Second)) {
		t.Errorf("next report in %s, want after the shortest interval", c.wake().Sub(now))
	}
	later := now.Add(time.Minute)
	if c.hasten(later); !c.wake().Equal(now.Add(10 * time.Second)) {
		t.Errorf("a report that is overdue was put off to %s", c.wake())
	}

	asked := newConversation(Timing{}.orDefault(), func() float64 { return 1 }, "1.0")
	asked.connected(now)
	want = asked.wake()
	if asked.hasten(now); !asked.wake().Equal(want) || asked.hurry {
		t.Error("a conversation that waits for its challenge hurries: what it reports will be fresh")
	}
}

// TestContentChanged: what is sent has the digest that was reported, or is not sent.
func TestContentChanged(t *testing.T) {
	c := newConversation(Timing{}.orDefault(), func() float64 { return 1 }, "1.0")
	now := time.Now()
	c.connected(now)
	c.challenge(now, &proto.Challenge{Nonce: make([]byte, proto.NonceSize), Lifetime: 60})
	if c.begin(now) == nil {
		t.Fatal("challenge was not taken up")
	}
	c.made(now, &Report{Evidence: []byte{1}, Content: func(context.Context, proto.Digest) ([]byte, error) { return []byte("new"), nil }}, nil)
	if p, err := c.next(t.Context(), now); err != nil || p.leaf != proto.UpEvidence {
		t.Fatalf("next = %+v, %v, want the evidence", p, err)
	}
	if err := c.want(now, &proto.Want{Evidence: c.digest, Contents: []proto.Digest{proto.Sum([]byte("old"))}}); err != nil {
		t.Fatal(err)
	}
	if p, err := c.next(t.Context(), now); err == nil || p.leaf != "" || !strings.Contains(err.Error(), "changed") {
		t.Errorf("next = %+v, %v, want that the content changed", p, err)
	}
	if p, err := c.next(t.Context(), now); err != nil || p.leaf != "" {
		t.Errorf("next = %+v, %v, want nothing", p, err)
	}
}

func packet(t testing.TB, p packets.ControlPacket) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func publish(t testing.TB, n int) []byte {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload = "t", make([]byte, n)
	return packet(t, p)
}

func TestGuard(t *testing.T) {
	ping := packet(t, packets.NewControlPacket(packets.Pingresp))
	largest := publish(t, maxPacket-3)
	for _, tt := range []struct {
		name   string
		stream []byte
		ok     bool
	}{
		{"small ones", bytes.Join([][]byte{ping, publish(t, 200), ping, publish(t, 20_000), ping}, nil), true},
		{"largest", append(largest, ping...), true},
		{"too large", publish(t, maxPacket), false},
		{"too large after a small one", append(bytes.Clone(ping), publish(t, maxPacket)...), false},
		{"256 MiB announced", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, false},
		{"endless length", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, false},
	} {
		for _, step := range []int{1, 3, 1 << 20} {
			g := &guard{from: &slow{bytes.NewReader(tt.stream), step}}
			got, err := io.ReadAll(g)
			if (err == nil) != tt.ok || err == nil && !bytes.Equal(got, tt.stream) {
				t.Errorf("%s, %d bytes at a time: %d of %d bytes, %v", tt.name, step, len(got), len(tt.stream), err)
			}
		}
	}
	broken := errors.New("broken")
	if _, err := (&guard{from: &failing{broken}}).Read(make([]byte, 1)); !errors.Is(err, broken) {
		t.Errorf("Read = %v, want the reason", err)
	}
}

type slow struct {
	r    io.Reader
	step int
}

func (s *slow) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.step)]) }

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzGuard reads any stream as the link does: packets that are passed on are within the limit, and nothing panics.
func FuzzGuard(f *testing.F) {
	f.Add(packet(f, packets.NewControlPacket(packets.Pingresp)))
	f.Add(publish(f, 100))
	f.Add(append(publish(f, 10), publish(f, 300)...))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{0x20, 0x02, 0x00, 0x00, 0x90, 0x03, 0x00, 0x01, 0x80})
	f.Fuzz(func(t *testing.T, stream []byte) {
		g := &guard{from: bytes.NewReader(stream)}
		for {
			p, err := packets.ReadPacket(g)
			if err != nil {
				return
			}
			if m, ok := p.(*packets.PublishPacket); ok && len(m.Payload) > maxPacket {
				t.Fatalf("a payload of %d bytes was passed on", len(m.Payload))
			}
		}
	})
}
