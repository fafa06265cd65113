package link

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
)

func TestEnrolAndAttest(t *testing.T) {
	r := newRig(t)
	boot := make([]byte, 2*proto.ChunkSize+17)
	rand.Read(boot)
	small := []byte("platform")
	r.attester.contents = [][]byte{boot, small}
	r.run()

	if l := r.login(); l.clientID != "enroll-"+r.device.ID() || l.username != r.device.ID() || l.password != token || l.certificate != "" {
		t.Errorf("enrolment logs in as %+v", l)
	}
	r.enroll(token)
	l := r.login()
	if l.clientID != r.device.ID() || l.certificate != r.device.ID() || l.username != "" || !strings.HasSuffix(l.willTopic, "/up/state") {
		t.Errorf("device logs in as %+v", l)
	}
	if len(r.store.chain) != 2 {
		t.Error("certificate was not stored")
	}
	r.state(proto.StateReady)
	c := r.challenge()
	digest := r.evidence(c)
	r.send(proto.DownWant, &proto.Want{Evidence: digest, Contents: []proto.Digest{proto.Sum(boot), proto.Sum(small)}})
	r.content(boot)
	r.content(small)
	r.receipt(digest)

	r.clock.pass(t, 110*time.Second) // Next, spread by a tenth
	r.state(proto.StateReady)
	if made, accepted := r.attester.counts(); made != 1 || accepted != 1 {
		t.Errorf("%d reports made, %d accepted, want 1 and 1", made, accepted)
	}
	r.stop()
	r.state(proto.StateOffline)
	if err := r.end(); err != nil {
		t.Errorf("Run = %v after its context ended", err)
	}
}

func TestLostReceipt(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	c := r.challenge()
	first := r.evidence(c)
	r.clock.pass(t, 30*time.Second)
	if again := r.evidence(c); again != first {
		t.Error("evidence sent again is another one")
	}
	r.receipt(proto.Digest{1}) // of other evidence
	r.clock.pass(t, 60*time.Second)
	if again := r.evidence(c); again != first {
		t.Error("evidence sent again is another one")
	}
	r.receipt(first)
	r.clock.pass(t, 110*time.Second)
	r.state(proto.StateReady)
	if made, _ := r.attester.counts(); made != 1 {
		t.Errorf("%d reports made, want 1", made)
	}
}

func TestLostChallenge(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	for _, wait := range []time.Duration{30, 60, 120} {
		r.clock.pass(t, wait*time.Second)
		r.state(proto.StateReady)
	}
	// Perhaps the broker lost our subscription: connect anew.
	r.clock.pass(t, 240*time.Second)
	r.state(proto.StateOffline)
	r.gone()
	r.clock.pass(t, time.Second)
	r.login()
	r.state(proto.StateReady)
}

func TestDuplicateWant(t *testing.T) {
	r := newRig(t)
	content := make([]byte, 3*proto.ChunkSize)
	rand.Read(content)
	r.attester.contents = [][]byte{content}
	r.enrolled()
	c := r.challenge()
	digest := r.evidence(c)
	want := &proto.Want{Evidence: digest, Contents: []proto.Digest{proto.Sum(content)}}
	for range maxSends { // one at a time: each is served once more
		r.send(proto.DownWant, want)
		r.content(content)
	}
	r.send(proto.DownWant, want) // one too many
	r.send(proto.DownWant, &proto.Want{Evidence: proto.Digest{9}, Contents: want.Contents})
	r.send(proto.DownWant, &proto.Want{Evidence: digest, Contents: []proto.Digest{{7}}}) // never named
	r.receipt(digest)
	r.clock.pass(t, 110*time.Second)
	r.state(proto.StateReady) // and no chunk in between
}

func TestDisconnectBetweenChunks(t *testing.T) {
	r := newRig(t)
	content := make([]byte, 4*proto.ChunkSize)
	rand.Read(content)
	r.attester.contents = [][]byte{content}
	r.enrolled()
	c := r.challenge()
	digest := r.evidence(c)
	want := &proto.Want{Evidence: digest, Contents: []proto.Digest{proto.Sum(content)}}
	r.set(func() { r.cut = proto.UpBlob })
	r.send(proto.DownWant, want)
	r.state(proto.StateOffline) // the will
	r.gone()
	r.clock.pass(t, time.Second)
	r.login()
	if again := r.evidence(c); again != digest {
		t.Error("evidence after the reconnect is another one")
	}
	r.send(proto.DownWant, want)
	r.content(content)
	r.receipt(digest)
	r.clock.pass(t, 110*time.Second)
	r.state(proto.StateReady)
}

func TestDisconnectAtEveryStep(t *testing.T) {
	for _, leaf := range []proto.Leaf{proto.UpState, proto.UpEvidence} {
		t.Run(string(leaf), func(t *testing.T) {
			r := newRig(t)
			r.store.chain = r.ca.device(t, r.device)
			r.set(func() { r.cut = leaf })
			r.run()
			r.login()
			if leaf == proto.UpEvidence {
				r.state(proto.StateReady)
				r.challenge()
			}
			r.state(proto.StateOffline)
			r.gone()
			r.clock.pass(t, time.Second)
			r.login()
			var c *proto.Challenge
			if leaf == proto.UpEvidence { // the outbox survives
				var e proto.Evidence
				b := r.next(proto.UpEvidence)
				r.decode(b, &e)
				r.receipt(proto.Sum(b))
			} else {
				r.state(proto.StateReady)
				c = r.challenge()
				r.receipt(r.evidence(c))
			}
			r.clock.pass(t, 110*time.Second)
			r.state(proto.StateReady)
		})
	}
}

func TestBrokerRestarts(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	c := r.challenge()
	digest := r.evidence(c)
	address := r.address
	r.verifier.stop()
	r.clock.pass(t, time.Second) // the port is closed
	r.clock.await(t, 2*time.Second)
	for len(r.got) > 0 { // the will, if the broker still published it
		r.state(proto.StateOffline)
	}
	r.start(address)
	r.clock.pass(t, 2*time.Second)
	r.login()
	if again := r.evidence(c); again != digest {
		t.Error("evidence after the restart is another one")
	}
	r.receipt(digest)
	r.clock.pass(t, 110*time.Second)
	r.state(proto.StateReady)
}

func TestExpiredNonce(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	c := r.challenge()
	r.evidence(c)
	for _, wait := range []time.Duration{30, 60} {
		r.clock.pass(t, wait*time.Second)
		r.evidence(c)
	}
	r.clock.pass(t, 120*time.Second) // 210 s: over the lifetime of 120 s
	r.state(proto.StateReady)
	c = r.challenge()
	digest := r.evidence(c)
	r.send(proto.DownReceipt, &proto.Receipt{Evidence: digest, Status: proto.Rejected, Code: proto.CodeNonceExpired, Next: 500})
	r.state(proto.StateReady) // at once
	c = r.challenge()
	r.clock.pass(t, 10*time.Second) // the least interval between two quotes
	digest = r.evidence(c)
	r.send(proto.DownReceipt, &proto.Receipt{Evidence: digest, Status: proto.Rejected, Code: proto.CodeSignature, Next: 500})
	r.clock.pass(t, 550*time.Second)
	r.state(proto.StateReady)
	if _, accepted := r.attester.counts(); accepted != 0 {
		t.Error("a rejection counted as acceptance")
	}
}

func TestPushedChallenges(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	c := r.challenge()
	r.receipt(r.evidence(c))
	for range 5 { // a burst: the newest is answered, once, when the interval is over
		c = r.challenge()
	}
	r.settled()
	r.clock.pass(t, 10*time.Second)
	digest := r.evidence(c)
	r.send(proto.DownChallenge, c) // the same nonce again: the evidence was lost
	if again := r.evidence(c); again != digest {
		t.Error("evidence for the same nonce is another one")
	}
	r.receipt(digest)
	r.clock.pass(t, 110*time.Second)
	r.state(proto.StateReady)
	if made, _ := r.attester.counts(); made != 2 {
		t.Errorf("%d reports for 6 challenges at once, want 2", made)
	}
}

func TestReportSoon(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	r.receipt(r.evidence(r.challenge()))
	r.clock.await(t, 110*time.Second)
	for range 3 { // calls that come at once are one
		r.link.ReportSoon()
	}
	r.clock.pass(t, 20*time.Second) // the shortest interval, and as much again of jitter
	r.state(proto.StateReady)
	digest := r.evidence(r.challenge())
	r.link.ReportSoon() // the evidence is on its way: another report follows it
	r.settled()
	r.receipt(digest)
	r.clock.pass(t, 20*time.Second)
	r.state(proto.StateReady)
	r.receipt(r.evidence(r.challenge()))
	r.clock.pass(t, 110*time.Second)
	r.state(proto.StateReady)
	if made, _ := r.attester.counts(); made != 3 {
		t.Errorf("%d reports, want 3", made)
	}
}

func TestFailedReportIsTriedAgain(t *testing.T) {
	r := newRig(t)
	r.attester.fail = errors.New("TPM is in lockout")
	r.enrolled()
	r.clock.advance(time.Second) // so that the wait after the failure differs from the wait for the challenge
	r.challenge()
	r.clock.pass(t, 30*time.Second)
	r.state(proto.StateReady)
	r.clock.advance(time.Second)
	r.challenge()
	r.clock.pass(t, 60*time.Second)
	r.state(proto.StateReady)
}

func TestNoiseIsIgnored(t *testing.T) {
	r := newRig(t)
	r.enrolled()
	own := proto.Address{Tenant: tenant, Device: r.device.ID()}
	for _, leaf := range []proto.Leaf{proto.DownChallenge, proto.DownWant, proto.DownReceipt, proto.DownEnroll} {
		own.Leaf = leaf
		r.sendRaw(own.String(), []byte{0xff}, false)
	}
	own.Leaf = proto.DownChallenge
	r.sendRaw(strings.TrimSuffix(own.String(), "challenge")+"config", []byte{1}, false)
	old, err := proto.Encode(&proto.Challenge{Nonce: make([]byte, proto.NonceSize), Banks: []uint16{11}, PCRs: 1, Lifetime: 60})
	if err != nil {
		t.Fatal(err)
	}
	r.set(func() { r.cut = proto.UpState })
	r.clock.pass(t, 30*time.Second) // ready again, cut
	r.state(proto.StateOffline)
	r.sendRaw(own.String(), old, true)
	r.gone()
	r.clock.pass(t, time.Second)
	r.login() // now the retained challenge comes: it is ignored
	r.state(proto.StateReady)
	c := r.challenge()
	r.evidence(c)
	if made, _ := r.attester.counts(); made != 1 {
		t.Errorf("%d reports, want 1: a retained challenge was answered", made)
	}
}

func TestOnce(t *testing.T) {
	r := newRig(t)
	r.store.chain = r.ca.device(t, r.device)
	l, err := New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		receipt *proto.Receipt
		err     error
	}
	done := make(chan result, 1)
	go func() { m, err := l.Once(t.Context()); done <- result{m, err} }()
	r.login()
	r.state(proto.StateReady)
	c := r.challenge()
	r.receipt(r.evidence(c))
	select {
	case got := <-done:
		if got.err != nil || got.receipt.State != "trusted" {
			t.Errorf("Once = %+v, %v, want trusted", got.receipt, got.err)
		}
	case <-time.After(patience):
		t.Fatal("Once does not return")
	}
	r.state(proto.StateOffline)
}

func TestOnceWithoutBroker(t *testing.T) {
	r := newRig(t)
	r.verifier.stop()
	r.cfg.Clock = nil
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("timeout of 300ms"))
	defer cancel()
	l, err := New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = l.Once(ctx); err == nil || !strings.Contains(err.Error(), "timeout of 300ms") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Once = %v, want the timeout and why", err)
	}
}

func TestOnceRejected(t *testing.T) {
	r := newRig(t)
	r.store.chain = r.ca.device(t, r.device)
	l, err := New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := l.Once(t.Context()); done <- err }()
	r.state(proto.StateReady)
	c := r.challenge()
	r.send(proto.DownReceipt, &proto.Receipt{
		Evidence: r.evidence(c), Status: proto.Rejected, Code: proto.CodeSignature, Reasons: []string{"bad"},
	})
	var rejected *RejectedError
	if err := <-done; !errors.As(err, &rejected) || rejected.Code != proto.CodeSignature {
		t.Errorf("Once = %v, want the rejection", err)
	}
}
