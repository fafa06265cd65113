package notify

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

func TestCheck(t *testing.T) {
	n, err := New(Config{Store: newRig(t).store})
	if err != nil {
		t.Fatal(err)
	}
	webhook := func(target string) store.AlertChannel {
		return store.AlertChannel{Kind: KindWebhook, Target: target, Secret: "0123456789abcdef"}
	}
	email := func(change func(*store.AlertChannel)) store.AlertChannel {
		c := store.AlertChannel{Kind: KindEmail, Target: "smtp://mail.example.net", From: "a@example.net", To: []string{"b@example.net"}}
		change(&c)
		return c
	}
	for name, tt := range map[string]struct {
		c    store.AlertChannel
		says string // empty: it is good
	}{
		"webhook":               {webhook("https://example.net/x?y=z"), ""},
		"private network":       {webhook("http://10.1.2.3:8080/"), ""},
		"alertmanager":          {store.AlertChannel{Kind: KindAlertmanager, Target: "http://am:9093"}, ""},
		"syslog":                {store.AlertChannel{Kind: KindSyslog, Target: "tls://siem.example.net"}, ""},
		"e-mail":                {email(func(*store.AlertChannel) {}), ""},
		"e-mail without tls":    {email(func(c *store.AlertChannel) { c.Target += "?tls=none" }), ""},
		"kind":                  {store.AlertChannel{Kind: "pigeon", Target: "https://example.net"}, "kind: want"},
		"scheme":                {webhook("ftp://example.net"), "https://example.net/probity"},
		"no host":               {webhook("https:///x"), "want a URL"},
		"not a URL":             {webhook("https://[::1"), "want a URL"},
		"unix socket":           {webhook("unix:///run/docker.sock"), "want a URL"},
		"credentials":           {webhook("https://alice:hush@example.net"), "no credentials"},
		"loopback":              {webhook("http://127.0.0.1:8443/"), "this machine"},
		"loopback, other form":  {webhook("http://[::ffff:127.8.8.8]/"), "this machine"},
		"loopback by name":      {webhook("http://LOCALHOST./"), "this machine"},
		"loopback below a name": {webhook("http://x.localhost/"), "this machine"},
		"metadata":              {webhook("http://169.254.169.254/latest"), "this machine or its link"},
		"link":                  {store.AlertChannel{Kind: KindSyslog, Target: "udp://[fe80::1]:514"}, "its link"},
		"multicast":             {store.AlertChannel{Kind: KindSyslog, Target: "udp://224.0.0.1"}, "one machine"},
		"broadcast":             {store.AlertChannel{Kind: KindSyslog, Target: "udp://255.255.255.255"}, "one machine"},
		"no secret":             {store.AlertChannel{Kind: KindWebhook, Target: "https://example.net"}, "at least 16"},
		"short key":             {store.AlertChannel{Kind: KindWebhook, Target: "https://example.net", Secret: "whsec_QUJD"}, "base64"},
		"token in the clear":    {store.AlertChannel{Kind: KindAlertmanager, Target: "http://am", Secret: "x"}, "https://"},
		"user without password": {store.AlertChannel{Kind: KindAlertmanager, Target: "https://am", User: "x"}, "secret"},
		"syslog with a path":    {store.AlertChannel{Kind: KindSyslog, Target: "udp://a:514/x"}, "only scheme"},
		"syslog with a secret":  {store.AlertChannel{Kind: KindSyslog, Target: "udp://a", Secret: "x"}, "syslog has none"},
		"syslog with a sender":  {store.AlertChannel{Kind: KindSyslog, Target: "udp://a", From: "x"}, "e-mail only"},
		"nobody":                {email(func(c *store.AlertChannel) { c.To = nil }), "recipients"},
		"no address":            {email(func(c *store.AlertChannel) { c.To = []string{"b"} }), "no e-mail address"},
		"two lines":             {email(func(c *store.AlertChannel) { c.From = "a@example.net\r\nBcc: x@example.net" }), "no e-mail address"},
		"password in the clear": {email(func(c *store.AlertChannel) { c.Target += "?tls=none"; c.User, c.Secret = "u", "p" }), "everybody on the way"},
		"half a login":          {email(func(c *store.AlertChannel) { c.User = "u" }), "both or neither"},
		"other parameter":       {email(func(c *store.AlertChannel) { c.Target += "?tls=maybe" }), "only scheme"},
	} {
		t.Run(name, func(t *testing.T) {
			err := n.Check(&tt.c)
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("Check() = %v, want none", err)
			case tt.says != "" && (!errors.Is(err, ErrChannel) || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("Check() = %v, want ErrChannel with %q", err, tt.says)
			case err != nil && strings.Contains(err.Error(), "hush"):
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestPermitted(t *testing.T) {
	for _, local := range []bool{false, true} {
		n := &Notifier{cfg: Config{Local: local}}
		for text, want := range map[string]string{
			"192.0.2.1": "yes", "10.0.0.1": "yes", "2001:db8::1": "yes", "fd00::1": "yes", "64:ff9b::192.0.2.1": "yes",
			"127.0.0.1": "local", "::1": "local", "169.254.169.254": "local", "fe80::1%eth0": "local", "fd00:ec2::254": "local",
			"100.100.100.200": "local", "::ffff:169.254.169.254": "local", "64:ff9b::127.0.0.1": "local", "2002:7f00:1::": "local",
			"::127.0.0.1": "local", "2002:a9fe:a9fe::1": "local",
			"0.0.0.0": "no", "0.1.2.3": "no", "::": "no", "224.0.0.1": "no", "ff02::1": "no", "255.255.255.255": "no",
			"2001:0:1::1": "no", "::ffff:0.0.0.0": "no",
		} {
			err := n.permitted(netip.MustParseAddr(text))
			if ok := want == "yes" || want == "local" && local; ok != (err == nil) {
				t.Errorf("permitted(%s) with local %v = %v", text, local, err)
			}
		}
	}
}

// TestNameLeadsHere: a name that leads to this machine when it is connected to is refused, whatever it was before, and so
// is a redirect.
func TestNameLeadsHere(t *testing.T) {
	inside := newReceiver(t)
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	r := newRig(t, func(c *Config) { c.Local, c.Resolver = false, liar(t) })
	for _, channel := range []store.AlertChannel{
		r.channel(KindWebhook, "http://outside.example.net:"+port+"/"),
		r.channel(KindSyslog, "tcp://outside.example.net:"+port),
		r.channel(KindEmail, "smtp://outside.example.net:"+port, func(c *store.AlertChannel) { c.From, c.To = "a@b.c", []string{"d@e.f"} }),
	} {
		d, err := r.Test(t.Context(), &channel, "alice")
		if err != nil || d.State != store.DeliveryDead || !strings.Contains(d.Error, errLocal.Error()) {
			t.Errorf("%s: Test() = %+v, %v, want that it is refused", channel.Kind, d, err)
		}
	}
	if got := inside.take(); len(got) != 0 {
		t.Errorf("%d requests came to this machine", len(got))
	}
	r.start()
	other := newReceiver(t)
	other.respond(func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, inside.URL, http.StatusTemporaryRedirect)
	})
	c := r.channel(KindWebhook, other.URL)
	if d, err := r.Test(t.Context(), &c, "alice"); err != nil || !strings.Contains(d.Error, "redirects are not followed") {
		t.Errorf("Test() through a redirect = %+v, %v", d, err)
	}
	if got := inside.take(); len(got) != 0 {
		t.Error("the redirect was followed")
	}
}

// liar is a DNS server, asked over TCP and UDP alike, that says of every name that it is 127.0.0.1.
func liar(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(answerLocal(b[:n]), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: time.Second}
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// answerLocal answers a DNS query (RFC 1035, section 4.1) of type A with 127.0.0.1, others with nothing.
func answerLocal(query []byte) []byte {
	end := 12
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5
	if end > len(query) {
		return nil
	}
	out := append([]byte(nil), query[:end]...)
	out[2], out[3] = 0x81, 0x80               // a response, recursion available
	copy(out[6:12], []byte{0, 0, 0, 0, 0, 0}) // no records but the question
	if query[end-4] == 0 && query[end-3] == 1 {
		out[7] = 1
		out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
	}
	return out
}
