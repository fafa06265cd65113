package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// asked asks for a capture and returns the request that the device gets.
func (d *device) asked(region string) (store.Capture, *proto.CaptureRequest) {
	d.r.Helper()
	c, err := d.r.AskCapture(d.r.Context(), tenant, CaptureSpec{Device: d.ID, Region: region}, "alice")
	if err != nil {
		d.r.Fatal(err)
	}
	return c, d.captureRequest()
}

// captureRequest returns the one request that was sent.
func (d *device) captureRequest() *proto.CaptureRequest {
	d.r.Helper()
	got := d.r.sender.take(d.ID, proto.DownCapture)
	if len(got) != 1 {
		d.r.Fatalf("%d capture requests, want one", len(got))
	}
	return got[0].message.(*proto.CaptureRequest)
}

// says has the device say something of a capture.
func (d *device) says(m *proto.CaptureRequest, up proto.CaptureUp) {
	d.r.Helper()
	up.Nonce = m.Nonce
	b, err := proto.Encode(&up)
	if err != nil {
		d.r.Fatal(err)
	}
	var decoded proto.CaptureUp
	if err := proto.Decode(b, &decoded); err != nil {
		d.r.Fatal(err)
	}
	d.r.Capture(d.r.Context(), d.at(proto.UpCapture), &decoded)
}

// sends has it send bytes from an offset on, in pieces of 1,000.
func (d *device) sends(m *proto.CaptureRequest, content []byte, from, to int) {
	d.r.Helper()
	for at := from; at < to; at += 1000 {
		d.says(m, proto.CaptureUp{Piece: &proto.CapturePiece{Offset: uint32(at), Data: content[at:min(at+1000, to)]}})
	}
}

func statementOf(m *proto.CaptureRequest, content []byte) *proto.CaptureStatement {
	return &proto.CaptureStatement{
		Region: m.Region, Source: "mtd:" + m.Region, Offset: m.Offset, Size: uint32(len(content)), Digest: proto.Sum(content),
		BootID: make([]byte, proto.BootIDSize),
	}
}

func (d *device) ends(m *proto.CaptureRequest, s *proto.CaptureStatement) {
	d.r.Helper()
	end, err := d.EndCapture(m, s)
	if err != nil {
		d.r.Fatal(err)
	}
	d.says(m, proto.CaptureUp{End: end})
}

func start(size int) proto.CaptureUp {
	return proto.CaptureUp{Start: &proto.CaptureStart{Size: uint32(size), Source: "mtd:bios"}}
}

// stored returns the capture as it is now.
func (d *device) capture(c store.Capture) store.Capture {
	d.r.Helper()
	now, err := d.r.store.Capture(d.r.Context(), tenant, d.ID, c.Seq)
	if err != nil {
		d.r.Fatal(err)
	}
	return now
}

// wantCapture checks how a capture stands, and that operators were told.
func (d *device) wantCapture(c store.Capture, want store.CaptureState, reason, event string) store.Capture {
	d.r.Helper()
	now := d.capture(c)
	if now.State != want || !strings.Contains(now.Reason, reason) {
		d.r.Fatalf("capture is %s: %q, want %s: %q\n%s", now.State, now.Reason, want, reason, d.r.log.String())
	}
	if event != "" && len(d.events(event)) == 0 {
		d.r.Errorf("no event %s", event)
	}
	return now
}

var content = bytes.Repeat([]byte("flash "), 700)

func TestCapture(t *testing.T) {
	r := newRig(t)
	software, err := appraisetest.NewSoftware()
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*device{"TPM": r.healthy(), "software": r.enrolled(software, result.Software)} {
		t.Run(name, func(t *testing.T) {
			c, m := d.asked("bios")
			if c.State != store.CaptureAsked || c.Actor != "alice" || m.Region != "bios" || m.Held != 0 || len(d.events("capture-asked")) != 1 {
				t.Errorf("capture = %+v, request %+v", c, m)
			}
			d.says(m, start(len(content)))
			d.sends(m, content, 0, len(content))
			if now := d.wantCapture(c, store.CaptureRunning, "", ""); now.Held != uint32(len(content)) || now.Source != "mtd:bios" {
				t.Errorf("capture = %+v", now)
			}
			d.ends(m, statementOf(m, content))
			now := d.wantCapture(c, store.CaptureDone, "", "capture-done")
			if now.Digest != digestHex(content) || len(now.Statement) == 0 || len(now.Signature) == 0 || now.Reported != "" {
				t.Errorf("capture = %+v", now)
			}
			sum := sha256.New()
			if err := r.readCapture(t.Context(), &now, sum); err != nil || proto.Digest(sum.Sum(nil)) != proto.Sum(content) {
				t.Errorf("readCapture = %v, other bytes", err)
			}
			d.says(m, start(len(content))) // it is over
			d.wantCapture(c, store.CaptureDone, "", "")
		})
	}
}

// TestCaptureLies: whatever a device contradicts itself in ends the capture, is told, and is never "done".
func TestCaptureLies(t *testing.T) {
	r := newRig(t)
	other := append(bytes.Clone(content[1:]), 'x')
	for name, tt := range map[string]struct {
		lie    func(d *device, m *proto.CaptureRequest)
		length uint32
		reason string
	}{
		"another digest": {func(d *device, m *proto.CaptureRequest) { d.ends(m, statementOf(m, other)) }, 0, "signed the digest"},
		"another region": {func(d *device, m *proto.CaptureRequest) {
			s := statementOf(m, content)
			s.Region = "env"
			d.ends(m, s)
		}, 0, "of region env"},
		"another offset": {func(d *device, m *proto.CaptureRequest) {
			s := statementOf(m, content)
			s.Offset = 4096
			d.ends(m, s)
		}, 0, "at 0x1000"},
		"another size": {func(d *device, m *proto.CaptureRequest) {
			s := statementOf(m, content)
			s.Size--
			d.ends(m, s)
		}, 0, "the device signed"},
		"another nonce": {func(d *device, m *proto.CaptureRequest) {
			old := *m
			old.Nonce = bytes.Repeat([]byte{1}, proto.NonceSize)
			end, err := d.EndCapture(&old, statementOf(m, content))
			if err != nil {
				t.Fatal(err)
			}
			d.says(m, proto.CaptureUp{End: end})
		}, 0, "does not bind this nonce"},
		"another's key": {func(d *device, m *proto.CaptureRequest) {
			end, err := r.healthy().EndCapture(m, statementOf(m, content))
			if err != nil {
				t.Fatal(err)
			}
			d.says(m, proto.CaptureUp{End: end})
		}, 0, "not signed by the device"},
		"evidence instead": {func(d *device, m *proto.CaptureRequest) {
			s := statementOf(m, content)
			encoded, err := proto.Encode(s)
			if err != nil {
				t.Fatal(err)
			}
			d.says(m, proto.CaptureUp{End: &proto.CaptureEnd{Statement: encoded, Quote: []byte("\xffTCG"), Signature: []byte{0, 0x18, 0, 0xb}}})
		}, 0, "not signed by the device"},
		"other PCRs": {func(d *device, m *proto.CaptureRequest) {
			less := *m
			less.PCRs = 1
			end, err := d.EndCapture(&less, statementOf(m, content))
			if err != nil {
				t.Fatal(err)
			}
			d.says(m, proto.CaptureUp{End: end})
		}, 0, "want exactly"},
		"not a statement": {func(d *device, m *proto.CaptureRequest) {
			d.says(m, proto.CaptureUp{End: &proto.CaptureEnd{Statement: []byte{0xa0}, Signature: []byte{1}}})
		}, 0, "not signed by the device"},
		"more than announced": {func(d *device, m *proto.CaptureRequest) {
			d.says(m, proto.CaptureUp{Piece: &proto.CapturePiece{Offset: uint32(len(content)), Data: []byte{1}}})
		}, 0, "more than the"},
		"more than asked for": {func(d *device, m *proto.CaptureRequest) { d.says(m, start(len(content)+1)) }, uint32(len(content)), "were asked for"},
		"a gap at the start": {func(d *device, m *proto.CaptureRequest) {
			d.says(m, proto.CaptureUp{Start: &proto.CaptureStart{Size: 1 << 20, From: 1 << 19}})
		}, 0, "only 4200 bytes have come"},
	} {
		t.Run(name, func(t *testing.T) {
			d := r.healthy()
			c, err := r.AskCapture(t.Context(), tenant, CaptureSpec{Device: d.ID, Region: "bios", Length: tt.length}, "alice")
			if err != nil {
				t.Fatal(err)
			}
			m := d.captureRequest()
			d.says(m, start(len(content)))
			d.sends(m, content, 0, len(content))
			tt.lie(d, m)
			d.wantCapture(c, store.CaptureFailed, tt.reason, "capture-failed")
		})
	}
}

func TestCaptureRefusals(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	c, m := d.asked("bios")
	d.says(m, proto.CaptureUp{Refused: &proto.Unavailable{Cause: proto.CausePending, Reason: "another capture runs"}})
	d.wantCapture(c, store.CaptureAsked, "another capture runs", "")
	d.says(m, proto.CaptureUp{Refused: &proto.Unavailable{Cause: proto.CauseNotAllowed, Reason: "charter \x1b[2J\x00 says no"}})
	now := d.wantCapture(c, store.CaptureRefused, "not-allowed: charter", "capture-refused")
	if strings.ContainsAny(now.Reason+d.events("capture-refused")[0], "\x1b\x00") {
		t.Errorf("the reason %q has control characters", now.Reason)
	}
	d.says(m, start(10))
	d.wantCapture(c, store.CaptureRefused, "", "")
}

// TestCaptureIgnores: what is of no open capture, or comes out of order, changes nothing.
func TestCaptureIgnores(t *testing.T) {
	r := newRig(t)
	d, other := r.healthy(), r.healthy()
	c, m := d.asked("bios")
	foreign := *m
	foreign.Nonce = bytes.Repeat([]byte{1}, proto.NonceSize)
	d.says(&foreign, start(10))
	other.says(m, start(10))
	d.sends(m, content, 0, 1000) // before the start
	d.ends(m, statementOf(m, content))
	d.wantCapture(c, store.CaptureAsked, "", "")
	d.says(m, start(len(content)))
	d.sends(m, content, 1000, 2000) // a gap
	d.sends(m, content, 0, 2000)
	d.sends(m, content, 1000, 2000)    // twice
	d.ends(m, statementOf(m, content)) // not all is here
	if now := d.wantCapture(c, store.CaptureRunning, "", ""); now.Held != 2000 {
		t.Errorf("%d bytes are held, want 2000", now.Held)
	}
	d.sends(m, content, 2000, len(content))
	d.ends(m, statementOf(m, content))
	d.wantCapture(c, store.CaptureDone, "", "")
	if r.counted("probity_refused_total", "capture") < 5 {
		t.Error("what was ignored is not counted")
	}
}

// TestCaptureIsResumed: an interrupted capture goes on where it stopped, also after a restart of the verifier; a device whose
// flash has changed meanwhile begins again.
func TestCaptureIsResumed(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	c, m := d.asked("bios")
	d.says(m, start(len(content)))
	d.sends(m, content, 0, 2000)
	d.sayReady() // pieces come: nothing is asked
	if got := r.sender.take(d.ID, proto.DownCapture); len(got) != 0 {
		t.Errorf("%d requests while pieces come", len(got))
	}
	r.clock.advance(2 * time.Second)
	d.sayReady()
	again := d.captureRequest()
	if want := proto.Sum(content[:2000]); again.Held != 2000 || !bytes.Equal(again.Prefix, want[:]) || !bytes.Equal(again.Nonce, m.Nonce) {
		t.Errorf("request = %+v, want to go on at 2000", again)
	}
	d.says(m, proto.CaptureUp{Start: &proto.CaptureStart{Size: uint32(len(content)), Source: "mtd:bios", From: 2000}})
	d.sends(m, content, 2000, 3000)

	r.restart()
	if err := r.tendCaptures(t.Context()); err != nil || len(r.sender.take(d.ID, proto.DownCapture)) != 0 {
		t.Errorf("tendCaptures = %v: asked again at once", err)
	}
	r.clock.advance(2 * time.Second)
	if err := r.expectCaptures(t.Context()); err != nil { // as Watch does first
		t.Fatal(err)
	}
	d.sayReady()
	if again := d.captureRequest(); again.Held != 3000 {
		t.Errorf("request = %+v, want to go on at 3000", again)
	}
	r.clock.advance(captureIdle + time.Second)
	if err := r.tendCaptures(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := d.captureRequest(); again.Held != 3000 {
		t.Errorf("request = %+v, want to go on at 3000", again)
	}
	changed := bytes.ToUpper(content)
	d.says(m, start(len(changed)))
	d.sends(m, changed, 0, len(changed))
	d.ends(m, statementOf(m, changed))
	if now := d.wantCapture(c, store.CaptureDone, "", ""); now.Digest != digestHex(changed) {
		t.Errorf("digest = %s, want that of the newer bytes", now.Digest)
	}
}

func TestCaptureExpires(t *testing.T) {
	r := newRig(t)
	d, silent := r.healthy(), r.healthy()
	c, m := d.asked("bios")
	never, _ := silent.asked("bios")
	d.says(m, start(len(content)))
	d.sends(m, content, 0, 1000)
	for range 3 {
		r.clock.advance(captureLifetime / 3)
		if err := r.tendCaptures(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r.clock.advance(time.Minute)
	if err := r.tendCaptures(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.wantCapture(c, store.CaptureFailed, "did not send all", "capture-failed")
	silent.wantCapture(never, store.CaptureFailed, "did not answer", "capture-failed")
	r.clock.advance(keepCaptured + time.Minute)
	if err := r.tendCaptures(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := r.store.Captures(t.Context(), tenant, d.ID); err != nil || len(list) != 0 {
		t.Errorf("%d captures are kept for ever, %v", len(list), err)
	}
}

func TestAskCapture(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	ask := func(s CaptureSpec) error {
		s.Device = d.ID
		_, err := r.AskCapture(t.Context(), tenant, s, "alice")
		return err
	}
	wantRefused(t, ask(CaptureSpec{}), "region")
	wantRefused(t, ask(CaptureSpec{Region: strings.Repeat("x", 300)}), "region")
	wantRefused(t, ask(CaptureSpec{Region: "\xff"}), "UTF-8")
	wantRefused(t, ask(CaptureSpec{Region: "bios", Length: proto.MaxCapture + 1}), "at most 67108864")
	if _, err := r.AskCapture(t.Context(), "other", CaptureSpec{Device: d.ID, Region: "bios"}, "alice"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("AskCapture of another tenant's device = %v", err)
	}
	r.sender.err = errFault // a device, or broker, that is away is asked again
	if err := ask(CaptureSpec{Region: "bios"}); err != nil {
		t.Fatal(err)
	}
	r.sender.err = nil
	wantRefused(t, ask(CaptureSpec{Region: "env"}), "wait for its end, or remove it")
	r.clock.advance(captureIdle + time.Second)
	if err := r.tendCaptures(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := d.captureRequest()
	list, err := r.store.Captures(t.Context(), tenant, d.ID)
	if err != nil || len(list) != 1 {
		t.Fatalf("captures = %+v, %v, want one", list, err)
	}
	if err := r.RemoveCapture(t.Context(), tenant, d.ID, list[0].Seq, "not needed", "alice"); err != nil || len(d.events("capture-removed")) != 1 {
		t.Errorf("RemoveCapture = %v, events %q", err, d.events("capture-removed"))
	}
	d.says(m, start(10)) // does no harm

	for range keepCaptures + 3 {
		c, m := d.asked("bios")
		d.says(m, proto.CaptureUp{Refused: &proto.Unavailable{Cause: proto.CauseIO, Reason: "broken"}})
		d.wantCapture(c, store.CaptureRefused, "broken", "")
	}
	if list, err := r.store.Captures(t.Context(), tenant, d.ID); err != nil || len(list) != keepCaptures {
		t.Errorf("%d captures are kept, %v, want %d", len(list), err, keepCaptures)
	}
}

// TestCaptureAgainstReport: bytes that do not have the digest that the device reported are told (ATTACKS row 13).
func TestCaptureAgainstReport(t *testing.T) {
	r := newRig(t)
	for name, tt := range map[string]struct {
		change func([]byte)
		want   string
	}{
		"as reported":       {func([]byte) {}, "same"},
		"only excluded":     {func(b []byte) { b[1000], b[999] = 'X', 'Y' }, "same"},
		"before excluded":   {func(b []byte) { b[998] = 'X' }, "differs"},
		"behind excluded":   {func(b []byte) { b[1001] = 'X' }, "differs"},
		"nothing but zeros": {func(b []byte) { clear(b) }, "differs"},
	} {
		t.Run(name, func(t *testing.T) {
			d := r.healthy()
			masked := bytes.Clone(content)
			masked[999], masked[1000] = 0xff, 0xff // over the end of a piece
			res := result.Result{
				Tenant: tenant, Device: d.ID, State: result.Untrusted, At: r.clock.Now(),
				Regions: []result.Region{{Name: "env"}, {
					Name: "bios", Length: uint64(len(content)), Digest: digestHex(masked), Left: 2,
					Excluded: []result.Span{{Offset: 999, Length: 2}},
				}},
			}
			stored := d.stored()
			res.Evidence, stored.State = digestHex([]byte(name)), res.State
			if err := r.store.Store.Record(context.Background(), store.Outcome{Device: stored, Evidence: []byte(name), Result: res, EAR: "x"}); err != nil {
				t.Fatal(err)
			}
			sent := bytes.Clone(content)
			tt.change(sent)
			c, m := d.asked("bios")
			d.says(m, start(len(sent)))
			d.sends(m, sent, 0, len(sent))
			d.ends(m, statementOf(m, sent))
			if now := d.wantCapture(c, store.CaptureDone, "", "capture-done"); now.Reported != tt.want {
				t.Errorf("reported = %q, want %q", now.Reported, tt.want)
			}
			if told := strings.Contains(d.events("capture-done")[0], "not what the device reported"); told != (tt.want == "differs") {
				t.Errorf("event = %q", d.events("capture-done"))
			}
		})
	}
}

// TestCaptureFaults: a store that fails ends nothing; what was lost is asked for again.
func TestCaptureFaults(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	c, m := d.asked("bios")
	d.says(m, start(len(content)))
	d.sends(m, content, 0, len(content))
	r.store.before = func(op string) error {
		if op == "Device" {
			return errFault
		}
		return nil
	}
	d.ends(m, statementOf(m, content))
	r.store.before = nil
	d.wantCapture(c, store.CaptureRunning, "", "")
	r.clock.advance(captureIdle + time.Second)
	if err := r.tendCaptures(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := d.captureRequest(); again.Held != uint32(len(content)) {
		t.Errorf("request = %+v, want one for the end alone", again)
	}
	d.says(m, proto.CaptureUp{Start: &proto.CaptureStart{Size: uint32(len(content)), From: uint32(len(content))}})
	d.ends(m, statementOf(m, content))
	d.wantCapture(c, store.CaptureDone, "", "")
}
