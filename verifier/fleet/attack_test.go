package fleet

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/challenge"
	"github.com/probity-attest/probity/verifier/result"
)

// TestNonces is ATTACKS row 1: evidence for any other nonce than a fresh one of this verifier for this device.
func TestNonces(t *testing.T) {
	r := newRig(t)
	d, other := r.trusted(), r.healthy()
	replica := r.config().Nonces // its clock is its own
	for name, test := range map[string]struct {
		nonce func() []byte
		code  string
	}{
		"zero":     {func() []byte { return make([]byte, proto.NonceSize) }, proto.CodeNonceForeign},
		"made up":  {func() []byte { return []byte(strings.Repeat("x", proto.NonceSize)) }, proto.CodeNonceForeign},
		"another":  {func() []byte { return other.challenged().Nonce }, proto.CodeNonceForeign},
		"tenant's": {func() []byte { return r.cfg.Nonces.Issue(challenge.Evidence, "other", d.ID, r.clock.Now()) }, proto.CodeNonceForeign},
		"enrolment's": {
			func() []byte { return r.cfg.Nonces.Issue(challenge.Enrolment, tenant, d.ID, r.clock.Now()) }, proto.CodeNonceForeign,
		},
		"future": {func() []byte {
			return replica.Issue(challenge.Evidence, tenant, d.ID, r.clock.Now().Add(time.Minute))
		}, proto.CodeNonceForeign},
	} {
		t.Log(name)
		c := d.challenged()
		c.Nonce = test.nonce()
		d.wantRejected(d.report(c), test.code)
	}
	c := d.challenged()
	d.submit(d.report(c))
	t.Log("used")
	d.wantRejected(d.report(c), proto.CodeNonceReplayed)

	old := d.report(d.challenged())
	d.attest(result.Trusted)
	t.Log("overtaken")
	d.wantRejected(old, proto.CodeNonceReplayed)

	late := d.report(d.challenged())
	r.clock.advance(5*time.Minute + time.Second)
	events := len(d.events("evidence-rejected"))
	t.Log("expired")
	d.wantRejected(late, proto.CodeNonceExpired)
	if len(d.events("evidence-rejected")) != events {
		t.Error("slow evidence is an event: it is no attack")
	}
	d.attest(result.Trusted)
}

// TestForeignNonceTellsNothing is ATTACKS row 17: whatever is wrong with a nonce's secret part, the answer is the same.
func TestForeignNonceTellsNothing(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	want := ""
	for bit := range proto.NonceSize * 8 {
		c := d.challenged()
		c.Nonce[bit/8] ^= 1 << (bit % 8)
		got := d.wantRejected(d.report(c), proto.CodeNonceForeign)
		if want == "" {
			want = fmt.Sprint(got.Reasons)
		}
		if fmt.Sprint(got.Reasons) != want {
			t.Fatalf("bit %d: reasons %q, want %q as for every other", bit, got.Reasons, want)
		}
		r.clock.advance(time.Second)
	}
}

// TestStolenIdentity is ATTACKS rows 8 and 9: another TPM's evidence under this device's id.
func TestStolenIdentity(t *testing.T) {
	r := newRig(t)
	d, thief := r.trusted(), r.healthy()
	thief.attest(result.Trusted)
	c := d.challenged()
	d.wantRejected(thief.report(c), proto.CodeSignature)
	d.wantRejected(thief.report(thief.challenged()), proto.CodeNonceForeign)
	got := d.events("evidence-rejected")
	if len(got) != 2 || !strings.HasPrefix(got[1], proto.CodeSignature) || !strings.HasPrefix(got[0], proto.CodeNonceForeign) {
		t.Errorf("events = %q", got)
	}
	d.attest(result.Trusted)
	thief.attest(result.Trusted)
}

// TestRejectionFlood is ATTACKS row 20: a device that sends rejected evidence without end fills neither the events nor
// the log, and gets its answers.
func TestRejectionFlood(t *testing.T) {
	r := newRig(t)
	d, other := r.trusted(), r.healthy()
	for i := range 200 {
		d.wantRejected([]byte("nonsense "+strconv.Itoa(i)), proto.CodeMalformed)
		c := d.challenged()
		c.Nonce = make([]byte, proto.NonceSize)
		d.wantRejected(d.report(c), proto.CodeNonceForeign)
		r.clock.advance(time.Second)
	}
	if got := len(d.events("evidence-rejected")); got != 2*rejectBurst {
		t.Errorf("%d events of 400 rejections, want %d for each of two reasons", got, rejectBurst)
	}
	if got := strings.Count(r.log.String(), `msg="evidence rejected"`); got != 2*rejectBurst {
		t.Errorf("%d lines of log", got)
	}
	if got := r.counted("probity_evidence_total", "rejected"); got != 400 {
		t.Errorf("%d rejections counted, want 400", got)
	}
	other.wantRejected([]byte("nonsense"), proto.CodeMalformed)
	if got := len(other.events("evidence-rejected")); got != 1 {
		t.Errorf("%d events of another device, want 1", got)
	}
	r.clock.advance(time.Hour)
	d.wantRejected([]byte("nonsense"), proto.CodeMalformed)
	if got := len(d.events("evidence-rejected")); got != 2*rejectBurst+1 {
		t.Errorf("%d events after an hour, want one more", got)
	}
}

// TestQuestionFlood: a device that asks without end is answered now and then, others at once.
func TestQuestionFlood(t *testing.T) {
	r := newRig(t)
	d, other := r.healthy(), r.healthy()
	for range 1000 {
		d.sayReady()
	}
	if got := len(r.sender.take(d.ID, proto.DownChallenge)); got != askBurst {
		t.Errorf("%d challenges for 1000 questions, want %d", got, askBurst)
	}
	if got := r.counted("probity_refused_total", "rate"); got != 1000-askBurst {
		t.Errorf("%d refusals counted, want %d", got, 1000-askBurst)
	}
	other.challenged()
	r.clock.advance(time.Second)
	d.challenged()
}

// TestMemoryOfStrangers: however many devices come, what is remembered of them is bounded.
func TestMemoryOfStrangers(t *testing.T) {
	l := newLimits(askRate, askBurst)
	now := time.Now()
	for i := range maxWaiting + 100 {
		l.allow(strconv.Itoa(i), now)
	}
	if len(l.of) != maxWaiting {
		t.Errorf("%d devices remembered, want %d", len(l.of), maxWaiting)
	}
	r := newRig(t)
	for i := range maxWaiting + 100 {
		from := proto.Address{Tenant: tenant, Device: fmt.Sprintf("%064x", i)}
		r.want(t.Context(), from, []byte("evidence"), []proto.Digest{{1}})
		r.sender.all = nil
	}
	if len(r.waiting) != maxWaiting {
		t.Errorf("evidence of %d devices waits, want %d", len(r.waiting), maxWaiting)
	}
	last := proto.Address{Tenant: tenant, Device: fmt.Sprintf("%064x", maxWaiting+99)}
	if r.arrived(last, proto.Digest{1}) == nil {
		t.Error("the newest evidence was forgotten")
	}
}

// TestSlowDevice is ATTACKS row 16: a device whose store access hangs does not delay another.
func TestSlowDevice(t *testing.T) {
	r := newRig(t)
	slow, d := r.trusted(), r.healthy()
	message := slow.report(slow.challenged())
	begun, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	r.store.before = func(op string) error {
		if op == "Record" {
			mine := false
			first.Do(func() { mine = true }) // the other device's call goes through
			if mine {
				close(begun)
				<-release
			}
		}
		return nil
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Evidence(t.Context(), slow.at(proto.UpEvidence), message)
	}()
	<-begun
	d.attest(result.Trusted)
	close(release)
	<-ended
	if got := slow.receipt(); got == nil || got.State != string(result.Trusted) {
		t.Errorf("receipt = %+v", got)
	}
}

// TestUnknownContent: content that nobody waits for, or after the evidence was superseded, does no harm.
func TestUnknownContent(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	content := []byte("whatever")
	r.Content(t.Context(), d.at(proto.UpBlob), proto.Sum(content), content)
	r.Evidence(t.Context(), d.at(proto.UpEvidence), d.report(d.challenged()))
	r.clock.advance(time.Second)
	newer := d.report(d.challenged())
	r.Evidence(t.Context(), d.at(proto.UpEvidence), newer)
	r.sender.take(d.ID, proto.DownWant)
	for digest, b := range d.contents {
		r.Content(t.Context(), d.at(proto.UpBlob), digest, b)
	}
	if got := d.receipt(); got == nil || got.Evidence != proto.Sum(newer) {
		t.Errorf("receipt = %+v, want one for the newer evidence", got)
	}
	// A link that hands over what does not have its digest is not believed.
	r.Content(t.Context(), d.at(proto.UpBlob), proto.Digest{1}, content)
	if _, err := r.store.Content(t.Context(), [sha256.Size]byte{1}); err == nil {
		t.Error("content was stored under a digest that it does not have")
	}
}
