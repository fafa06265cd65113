package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// fire begins an alert that is told through a channel, and waits until it is told.
func (r *rig) fire(c store.AlertChannel, findings ...result.Finding) {
	r.t.Helper()
	r.rule("bad = boot", tells(c))
	if len(findings) == 0 {
		findings = []result.Finding{unknown("PCR 4")}
	}
	r.attest([]string{"router"}, findings...)
	r.work()
	r.pass(30 * time.Second)
}

// sent checks that all deliveries are sent.
func (r *rig) sent(want int) {
	r.t.Helper()
	got := r.deliveries("")
	for _, d := range got {
		if d.State != store.DeliverySent || d.Error != "" {
			r.t.Errorf("delivery = %+v, want it sent", d)
		}
	}
	if len(got) != want {
		r.t.Errorf("%d deliveries, want %d", len(got), want)
	}
}

func TestWebhook(t *testing.T) {
	r := newRig(t)
	hook := newReceiver(t)
	key := []byte("0123456789abcdef0123456789abcdef")
	c := r.channel(KindWebhook, hook.URL+"/in", func(c *store.AlertChannel) { c.Secret = "whsec_" + base64.StdEncoding.EncodeToString(key) })
	r.fire(c)
	got := hook.take()
	if len(got) != 1 || got[0].path != "/in" {
		t.Fatalf("received %+v, want one at /in", got)
	}
	h := got[0].header
	at, err := strconv.ParseInt(h.Get(HeaderTimestamp), 10, 64)
	if err != nil || at != r.clock().Unix() {
		t.Errorf("timestamp = %q, want %d", h.Get(HeaderTimestamp), r.clock().Unix())
	}
	if got, want := h.Get(HeaderSignature), Sign(key, h.Get(HeaderID), at, got[0].body); got != want {
		t.Errorf("signature = %q, want %q", got, want)
	}
	if h.Get(HeaderID) == "" || h.Get("Content-Type") != "application/json" || h.Get("User-Agent") != "probity-verifier/1.2.3" {
		t.Errorf("header = %v", h)
	}
	m := messages(t, got)[0]
	if m.Type != "alert.firing" || m.Data.Rule != "bad = boot" || m.Data.Verifier != "verifier.test" || m.Data.Tenant != tenant || m.Data.Devices != 1 {
		t.Errorf("message = %+v", m)
	}
	r.sent(1)
}

// TestSign: the example of the specification (Standard Webhooks, section "Signature scheme").
func TestSign(t *testing.T) {
	key, err := webhookKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(`{"test": 2432232314}`)); got != want {
		t.Errorf("Sign() = %s, want %s", got, want)
	}
}

// TestAlertmanager: version 2 of the API, refreshed while the alert lasts, also when it is acknowledged, and ended with it.
func TestAlertmanager(t *testing.T) {
	config, pool := identity(t)
	r := newRig(t, func(c *Config) { c.Roots = pool })
	am := &receiver{}
	am.Server = newTLSServer(t, config, http.HandlerFunc(am.serve))
	hook := newReceiver(t)
	c := r.channel(KindAlertmanager, am.URL+"/base/", func(c *store.AlertChannel) { c.Secret = "token" })
	other := r.channel(KindWebhook, hook.URL)
	r.rule("boot", tells(c, other))
	r.attest([]string{"router"}, unknown("PCR 4"))
	r.work()
	r.pass(30 * time.Second)
	take := func() []postableAlert {
		t.Helper()
		var out []postableAlert
		for _, got := range am.take() {
			if got.path != "/base/api/v2/alerts" || got.header.Get("Authorization") != "Bearer token" {
				t.Errorf("received at %s with %q", got.path, got.header.Get("Authorization"))
			}
			var list []postableAlert
			if err := json.Unmarshal(got.body, &list); err != nil || len(list) != 1 {
				t.Fatalf("body %s: %v", got.body, err)
			}
			out = append(out, list...)
		}
		return out
	}
	first := take()
	if len(first) != 1 {
		t.Fatalf("told %d times, want once", len(first))
	}
	a := r.alerts("")[0]
	want := postableAlert{
		Labels: map[string]string{
			"alertname": "Probity", "alert": a.ID, "rule": "boot", "finding": "boot-event-unknown", "severity": "critical", "tenant": tenant,
			"verifier": "verifier.test", "cluster": a.Cluster,
		},
		Annotations: map[string]string{
			"summary":     "1 device: PCR 4: boot loader is unknown; Acme R7, group north",
			"description": "PCR 4: boot loader is unknown", "action": "isolate the device", "devices": "1", "peak": "1",
			"sample": "router (" + deviceID("router")[:12] + ")",
		},
		StartsAt: epoch, EndsAt: epoch.Add(30*time.Second + forgetAfter),
		GeneratorURL: "https://dash.example.net/alerts/" + a.ID,
	}
	if diff := cmp.Diff(want, first[0]); diff != "" {
		t.Errorf("alert differs (-want +got):\n%s", diff)
	}
	r.must("AcknowledgeAlert", r.store.AcknowledgeAlert(t.Context(), tenant, a.ID, "alice", r.clock()))
	r.pass(refreshEvery)
	if again := take(); len(again) != 1 || !cmp.Equal(again[0].Labels, want.Labels) || !again[0].EndsAt.Equal(r.clock().Add(forgetAfter)) {
		t.Errorf("after %s it was told %+v, want the same alert for longer", refreshEvery, again)
	}
	if got := hook.take(); len(got) != 1 {
		t.Errorf("the other channel was told %d times, want once", len(got))
	}
	r.attest([]string{"router"})
	r.work()
	r.pass(30 * time.Second)
	if over := take(); len(over) != 1 || !cmp.Equal(over[0].Labels, want.Labels) || over[0].EndsAt.After(r.clock()) {
		t.Errorf("when it was over it was told %+v, want the same alert ended", over)
	}
}

// TestAlertmanagerIsLate: an alert that could not be delivered for hours does not come as one that is over.
func TestAlertmanagerIsLate(t *testing.T) {
	r := newRig(t)
	am := newReceiver(t)
	am.respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	r.fire(r.channel(KindAlertmanager, am.URL))
	am.take()
	am.respond(nil)
	r.pass(2 * forgetAfter)
	got := am.take()
	for _, g := range got {
		var list []postableAlert
		if err := json.Unmarshal(g.body, &list); err != nil || len(list) != 1 || !list[0].EndsAt.After(r.clock()) {
			t.Errorf("at %s it was told %s, %v, want an alert that lasts", r.clock(), g.body, err)
		}
	}
	if len(got) == 0 {
		t.Error("it was not told")
	}
}

var syslogForm = regexp.MustCompile(`^<130>1 (\S+) verifier\.test probity-verifier - ALERT\.FIRING ` +
	`\[origin software="probity-verifier" swVersion="1\.2\.3"\] (CEF:0\|.*)$`)

func TestSyslog(t *testing.T) {
	config, pool := identity(t)
	check := func(t *testing.T, r *rig, message string) {
		t.Helper()
		m := syslogForm.FindStringSubmatch(message)
		if m == nil {
			t.Fatalf("message = %q", message)
		}
		if at, err := time.Parse(time.RFC3339Nano, m[1]); err != nil || !at.Equal(r.clock()) {
			t.Errorf("time = %q, want %s", m[1], r.clock())
		}
		for _, want := range []string{
			"CEF:0|Probity|Verifier|1.2.3|boot-event-unknown|1 device: PCR 4: boot loader is unknown; Acme R7, group north|9|",
			`cs1=bad \= boot cs1Label=rule `, "act=firing ", "cnt=1 ", "dvchost=verifier.test ",
		} {
			if !strings.Contains(m[2], want) {
				t.Errorf("message lacks %q: %s", want, m[2])
			}
		}
		r.sent(1)
	}
	t.Run("udp", func(t *testing.T) {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := newRig(t)
		long := unknown("PCR 4")
		long.Observed, long.Action = strings.Repeat("ö", 3000), strings.Repeat("=", 3000)
		r.fire(r.channel(KindSyslog, "udp://"+conn.LocalAddr().String()), long)
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		b := make([]byte, 1<<16)
		n, _, err := conn.ReadFrom(b)
		if err != nil || n > maxDatagram {
			t.Fatalf("ReadFrom() = %d, %v, want at most %d bytes", n, err, maxDatagram)
		}
		check(t, r, string(b[:n]))
	})
	t.Run("tcp", func(t *testing.T) {
		address, got := syslogServer(t, nil)
		r := newRig(t)
		r.fire(r.channel(KindSyslog, "tcp://"+address))
		check(t, r, wait(t, got))
	})
	t.Run("tls", func(t *testing.T) {
		address, got := syslogServer(t, config)
		r := newRig(t, func(c *Config) { c.Roots = pool })
		r.fire(r.channel(KindSyslog, "tls://"+address))
		check(t, r, wait(t, got))
	})
	t.Run("tls with a certificate that nobody vouches for", func(t *testing.T) {
		address, got := syslogServer(t, config)
		r := newRig(t)
		r.fire(r.channel(KindSyslog, "tls://"+address))
		if d := r.deliveries(store.DeliveryWaiting); len(d) != 1 || !strings.Contains(d[0].Error, "certificate") || len(got) > 0 {
			t.Errorf("deliveries = %+v, want one that failed for the certificate", d)
		}
	})
	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		l.Close()
		r := newRig(t)
		r.fire(r.channel(KindSyslog, "tcp://"+address))
		if d := r.deliveries(store.DeliveryWaiting); len(d) != 1 || !strings.Contains(d[0].Error, "refused") {
			t.Errorf("deliveries = %+v, want one that failed", d)
		}
	})
}

func TestEmail(t *testing.T) {
	config, pool := identity(t)
	withRoots := func(c *Config) { c.Roots = pool }
	mailTo := func(c *store.AlertChannel) {
		c.From, c.To = "Probity <probity@example.net>", []string{"noc@example.net", "Ops <ops@example.net>"}
	}
	login := func(c *store.AlertChannel) { mailTo(c); c.User, c.Secret = "probity", "pass word" }
	check := func(t *testing.T, r *rig, s *mailServer, secure bool, user string) {
		t.Helper()
		r.sent(2)
		l := wait(t, s.got)
		if l.secure != secure || l.user != user || user != "" && l.password != "pass word" {
			t.Errorf("session: secure %v, user %q, password %q, want %v and %q", l.secure, l.user, l.password, secure, user)
		}
		if !strings.HasPrefix(l.from, "FROM:<probity@example.net>") || len(l.to) != 1 {
			t.Errorf("envelope: %s to %s", l.from, l.to)
		}
		m, err := mail.ReadMessage(strings.NewReader(l.data))
		if err != nil {
			t.Fatalf("message %s: %v", l.data, err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if want := "[probity critical] 1 device: PCR 4: boot loader is unknown; Acme R7, group north"; err != nil || subject != want {
			t.Errorf("subject = %q, %v, want %q", subject, err, want)
		}
		list := r.deliveries("")
		d := list[len(list)-1]
		if got := m.Header.Get("To"); got != "<"+d.Recipient+">" || d.Recipient != "noc@example.net" || !strings.Contains(l.to[0], got) {
			t.Errorf("to = %q in the envelope %q, want %s alone", got, l.to, d.Recipient)
		}
		if got, want := m.Header.Get("Message-Id"), "<delivery-"+d.Key+"@example.net>"; got != want {
			t.Errorf("Message-ID = %q, want %q", got, want)
		}
		if m.Header.Get("References") != "<alert-"+d.Alert+"@example.net>" || m.Header.Get("Auto-Submitted") != "auto-generated" {
			t.Errorf("header = %v", m.Header)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil || !strings.Contains(string(text), "isolate the device") || !strings.Contains(string(text), "router (") {
			t.Errorf("text = %s, %v", text, err)
		}
	}
	t.Run("starttls", func(t *testing.T) {
		s, r := newMailServer(t, config, false), newRig(t, withRoots)
		r.fire(r.channel(KindEmail, "smtp://"+s.address, login))
		check(t, r, s, true, "probity")
	})
	t.Run("implicit tls", func(t *testing.T) {
		s, r := newMailServer(t, config, true), newRig(t, withRoots)
		r.fire(r.channel(KindEmail, "smtps://"+s.address, login))
		check(t, r, s, true, "probity")
	})
	t.Run("a server that hangs up once it has the letter", func(t *testing.T) {
		s, r := newMailServer(t, config, true), newRig(t, withRoots)
		s.drops = true
		r.fire(r.channel(KindEmail, "smtps://"+s.address, login))
		check(t, r, s, true, "probity")
	})
	t.Run("without tls because the channel says so", func(t *testing.T) {
		s, r := newMailServer(t, nil, false), newRig(t)
		r.fire(r.channel(KindEmail, "smtp://"+s.address+"?tls=none", mailTo))
		check(t, r, s, false, "")
	})
	failing := func(name, says string, s func(t *testing.T) *mailServer, change func(*store.AlertChannel), scheme string) {
		t.Run(name, func(t *testing.T) {
			s, r := s(t), newRig(t, withRoots)
			r.fire(r.channel(KindEmail, scheme+s.address, change))
			d := r.deliveries(store.DeliveryWaiting)
			if len(d) != 2 || len(s.got) > 0 {
				t.Fatalf("deliveries = %+v and %d letters, want two that failed", d, len(s.got))
			}
			for _, d := range d {
				if !strings.Contains(d.Error, says) || strings.Contains(d.Error, "wrong") {
					t.Errorf("delivery = %+v, want that it failed with %q", d, says)
				}
			}
		})
	}
	failing("a server that leaves STARTTLS out", "STARTTLS", func(t *testing.T) *mailServer { return newMailServer(t, nil, false) }, mailTo, "smtp://")
	failing("a wrong password is not repeated", "(secret)", func(t *testing.T) *mailServer { return newMailServer(t, config, true) },
		func(c *store.AlertChannel) { login(c); c.Secret = "wrong" }, "smtps://")
	failing("refused", "552", func(t *testing.T) *mailServer {
		s := newMailServer(t, config, false)
		s.refuse = "552 5.3.4 too large"
		return s
	}, mailTo, "smtp://")
}

// TestOneMailbox: a recipient whom the server refuses holds nothing up for the others, and hears of it when it is mended.
func TestOneMailbox(t *testing.T) {
	for name, answer := range map[string]string{"gone": "550 5.1.1 no such user", "full": "452 4.2.2 mailbox is full"} {
		t.Run(name, func(t *testing.T) {
			s, r := newMailServer(t, nil, false), newRig(t)
			s.refused("left@example.net", answer)
			c := r.channel(KindEmail, "smtp://"+s.address+"?tls=none", func(c *store.AlertChannel) {
				c.From, c.To = "a@example.net", []string{"left@example.net", "noc@example.net"}
			})
			r.fire(c)
			if l := wait(t, s.got); !strings.Contains(l.to[0], "noc@example.net") {
				t.Errorf("first letter to %s, want the one who can have it", l.to)
			}
			r.pass(4 * time.Hour) // it lasts: that is told again
			if l := wait(t, s.got); !strings.Contains(l.to[0], "noc@example.net") {
				t.Errorf("second letter to %s, want the one who can have it", l.to)
			}
			waiting := r.deliveries(store.DeliveryWaiting)
			if len(waiting) != 2 || waiting[1].Recipient != "left@example.net" || !strings.Contains(waiting[1].Error, answer[4:]) {
				t.Fatalf("waiting = %+v, want both tellings for the other, the first with why it failed", waiting)
			}
			if c, err := r.store.AlertChannel(t.Context(), tenant, c.ID); err != nil || !strings.Contains(c.Failing, "left@example.net") {
				t.Errorf("channel = %+v, %v, want for whom it fails", c, err)
			}
			s.refused("left@example.net", "")
			r.pass(2 * longestRetry)
			for range 2 {
				if l := wait(t, s.got); !strings.Contains(l.to[0], "left@example.net") {
					t.Errorf("letter to %s, want what waited", l.to)
				}
			}
			r.sent(4)
			if c, err := r.store.AlertChannel(t.Context(), tenant, c.ID); err != nil || c.Failing != "" {
				t.Errorf("channel = %+v, %v, want that it works", c, err)
			}
		})
	}
}

// TestRecipientRemoved: what waits for one who was taken from the channel is given up, and says why.
func TestRecipientRemoved(t *testing.T) {
	s, r := newMailServer(t, nil, false), newRig(t)
	s.refused("left@example.net", "550 5.1.1 no such user")
	c := r.channel(KindEmail, "smtp://"+s.address+"?tls=none", func(c *store.AlertChannel) {
		c.From, c.To = "a@example.net", []string{"left@example.net", "noc@example.net", "noc@example.net"}
	})
	r.fire(c)
	if list := r.deliveries(""); len(list) != 2 {
		t.Errorf("deliveries = %+v, want one for each recipient, though one is named twice", list)
	}
	c.To = []string{"noc@example.net"}
	r.must("SaveAlertChannel", r.store.SaveAlertChannel(t.Context(), c))
	r.pass(time.Minute)
	dead := r.deliveries(store.DeliveryDead)
	if len(dead) != 1 || dead[0].Recipient != "left@example.net" || dead[0].Attempts != 1 || !strings.Contains(dead[0].Error, "taken from the channel") {
		t.Errorf("given up = %+v, want what was for the one who left", dead)
	}
	if c, err := r.store.AlertChannel(t.Context(), tenant, c.ID); err != nil || c.Failing != "" {
		t.Errorf("channel = %+v, %v, want that it works for who is left", c, err)
	}
	err := r.store.RetryDelivery(t.Context(), tenant, dead[0].ID, r.clock(), Expires(r.clock()))
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("RetryDelivery() = %v, want that there is nobody to send it to", err)
	}
}

// TestHangingReceivers: whoever says nothing does not hold up a verifier that stops.
func TestHangingReceivers(t *testing.T) {
	r := newRig(t)
	address := listen(t, nil, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	mailTo := func(c *store.AlertChannel) { c.From, c.To = "a@example.net", []string{"b@example.net"} }
	for _, c := range []store.AlertChannel{
		r.channel(KindEmail, "smtp://"+address, mailTo), r.channel(KindEmail, "smtps://"+address, mailTo),
		r.channel(KindSyslog, "tls://"+address), r.channel(KindWebhook, "http://"+address),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		start := time.Now()
		d, err := r.Test(ctx, &c, "alice")
		cancel()
		if took := time.Since(start); err != nil || d.State != store.DeliveryDead || took > sendTimeout/2 {
			t.Errorf("%s: Test() = %+v, %v after %s, want that it fails at once", c.Target, d, err, took)
		}
	}
}

// TestTest: a test is sent once, whatever becomes of it, and is on the list.
func TestTest(t *testing.T) {
	r := newRig(t)
	hook := newReceiver(t)
	c := r.channel(KindWebhook, hook.URL)
	d, err := r.Test(t.Context(), &c, "alice")
	if err != nil || d.State != store.DeliverySent || d.Sent.IsZero() {
		t.Errorf("Test() = %+v, %v, want it sent", d, err)
	}
	if got := messages(t, hook.take()); len(got) != 1 || got[0].Type != "alert.test" {
		t.Errorf("received %+v, want a test", got)
	}
	hook.respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	d, err = r.Test(t.Context(), &c, "alice")
	if err != nil || d.State != store.DeliveryDead || d.Error != "it answered 404 Not Found" {
		t.Errorf("Test() = %+v, %v, want why it failed", d, err)
	}
	r.pass(48 * time.Hour)
	if got := hook.take(); len(got) != 1 {
		t.Errorf("a test that failed was tried %d times, want once", len(got))
	}
	if c, err = r.store.AlertChannel(t.Context(), tenant, c.ID); err != nil || c.Failing == "" || c.Last.IsZero() {
		t.Errorf("channel = %+v, %v, want when it last worked and why it fails", c, err)
	}
}
