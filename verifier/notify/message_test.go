package notify

import (
	"mime"
	"net/mail"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func TestTitle(t *testing.T) {
	a := store.Alert{Devices: 3104, Peak: 4000, Finding: unknown("PCR 4"), Models: []store.AlertValue{{Value: "Acme R7", Devices: 3104}}}
	two := []store.AlertValue{{Value: "north", Devices: 3000}, {Value: "south", Devices: 104}}
	for want, change := range map[string]func(*store.Alert){
		"3,104 devices: PCR 4: boot loader is unknown; Acme R7":                         func(*store.Alert) {},
		"1 device: PCR 4: boot loader is unknown; Acme R7":                              func(a *store.Alert) { a.Devices = 1 },
		"4,000 devices: PCR 4: boot loader is unknown; Acme R7":                         func(a *store.Alert) { a.State = store.AlertResolved },
		"3,104 devices: PCR 4: boot loader is unknown; Acme R7, group north and others": func(a *store.Alert) { a.Groups = two },
		"3,104 devices: PCR 4: boot loader is unknown":                                  func(a *store.Alert) { a.Models = []store.AlertValue{{}} },
		"1,234,567 devices: boot loader is unknown; Acme R7": func(a *store.Alert) {
			a.Devices, a.Finding.Component = 1_234_567, "device"
		},
	} {
		b := a
		change(&b)
		if got := Title(&b); got != want {
			t.Errorf("Title() = %q, want %q", got, want)
		}
	}
}

// hostile is what a device may have chosen: markup, a terminal's escape, a change of direction, line ends, a header.
const hostile = "<script>\x1b[31m\u202eevil\r\nBcc: x@example.net|a=b\\]\"\u0085"

// TestHostile: texts of devices reach no channel as anything but text.
func TestHostile(t *testing.T) {
	f := unknown(hostile)
	f.Observed, f.Meaning, f.Nearest, f.Expected = hostile, hostile, hostile, hostile
	a := store.Alert{
		ID: "a1", Tenant: tenant, Rule: "r1", RuleName: hostile, Finding: f, State: store.AlertFiring, Devices: 1,
		Sample: []store.AlertDevice{{ID: deviceID("x"), Label: hostile}}, Models: []store.AlertValue{{Value: hostile, Devices: 1}},
		Groups: []store.AlertValue{{Value: hostile, Devices: 1}}, Since: epoch,
	}
	n := &Notifier{cfg: Config{Verifier: "verifier.test"}}
	m := n.message(&a, began, epoch)
	body, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeMessage(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, back); diff != "" {
		t.Errorf("message differs after encoding (-want +got):\n%s", diff)
	}
	d := store.Delivery{Key: "k1", Message: body}
	line := string(syslogMessage(m, &d, "1.2.3", maxSyslog))
	c := store.AlertChannel{From: "a@example.net", To: []string{"b@example.net"}}
	msg, err := letter(&c, &d, m)
	if err != nil {
		t.Fatal(err)
	}
	var letter strings.Builder
	if _, err := msg.WriteTo(&letter); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(letter.String(), "\r\n\r\n")
	for _, h := range strings.Split(head, "\r\n") {
		if strings.HasPrefix(strings.ToLower(h), "bcc") {
			t.Errorf("the mail has the header %q", h)
		}
	}
	for what, text := range map[string]string{"webhook": string(body), "syslog": line, "title": m.Title, "mail": strings.ReplaceAll(text(m), "\n", "")} {
		for _, r := range text {
			if !unicode.IsPrint(r) {
				t.Errorf("%s: character %U does not print: %q", what, r, text)
			}
		}
	}
	if strings.Contains(string(body), "<script>") {
		t.Errorf("the webhook's body has markup: %s", body)
	}
}

// TestEncodedWord: what a device calls a thing is not decoded by who reads the mail.
func TestEncodedWord(t *testing.T) {
	n := &Notifier{cfg: Config{Verifier: "verifier.test"}}
	f := unknown("=?utf-8?q?=0AHidden:_=E2=80=AEevil?=")
	m := n.message(&store.Alert{ID: "a1", Tenant: tenant, Finding: f, State: store.AlertFiring, Devices: 1, Since: epoch}, began, epoch)
	msg, err := letter(&store.AlertChannel{From: "a@example.net", To: []string{"b@example.net"}}, &store.Delivery{Key: "k1"}, m)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if _, err := msg.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	back, err := mail.ReadMessage(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(back.Header.Get("Subject"))
	if err != nil || !strings.Contains(subject, "utf-8") || strings.ContainsAny(subject, "\n\u202e") {
		t.Errorf("subject = %q, %v, want what the device wrote", subject, err)
	}
}

func TestDomain(t *testing.T) {
	for address, want := range map[string]string{
		"probity@example.net": "example.net", "Probity <probity@example.net>": "example.net", `"a@b"@example.net`: "example.net",
		`"a b> c"@example.net`: "example.net", "probity@example.net (a@b)": "example.net", "x": "localhost", "": "localhost",
	} {
		if got := domain(address); got != want {
			t.Errorf("domain(%q) = %q, want %q", address, got, want)
		}
	}
}

// TestCEF is annotated by the standard's rules: | and \ are escaped in the header, = and \ in extensions.
func TestCEF(t *testing.T) {
	f := result.Finding{
		Code: "x|y", Severity: result.Warn, Submod: result.Boot, Component: `\EFI\BOOT`, Observed: "a=b", Meaning: "m|n", Action: "c=d",
	}
	a := store.Alert{ID: "a1", Tenant: tenant, RuleName: "r=1", Finding: f, State: store.AlertFiring, Devices: 2, Since: epoch, Cluster: "ab"}
	n := &Notifier{cfg: Config{Verifier: "v"}}
	m := n.message(&a, began, epoch)
	want := `CEF:0|Probity|Verifier|1\|2|x\|y|2 devices: \\EFI\\BOOT: m\|n|6|` +
		`externalId=k rt=1772366400000 start=1772366400000 act=firing cnt=2 cat=boot dvchost=v cs1=r\=1 cs1Label=rule ` +
		`cs2=\\EFI\\BOOT cs2Label=component cs3=a1 cs3Label=alert cs4=ab cs4Label=cluster msg=m|n; c\=d ` +
		`flexString1=a\=b flexString1Label=observed`
	if got := cef(m, &store.Delivery{Key: "k"}, "1|2"); got != want {
		t.Errorf("cef() =\n%s, want\n%s", got, want)
	}
}

// TestSyslogLimit: whatever the limit, a message is text and has no half escape at its end.
func TestSyslogLimit(t *testing.T) {
	f := unknown(strings.Repeat(`\ö=`, 100))
	n := &Notifier{cfg: Config{Verifier: "v é\n" + strings.Repeat("x", 300)}}
	m := n.message(&store.Alert{ID: "a", Finding: f, Devices: 1, Since: epoch}, began, epoch)
	for limit := 600; limit < 1400; limit++ {
		got := syslogMessage(m, &store.Delivery{Key: "k"}, `1"]\`, limit)
		if len(got) > limit || !utf8.Valid(got) || strings.HasSuffix(strings.ReplaceAll(string(got), `\\`, ""), `\`) {
			t.Fatalf("syslogMessage() at %d = %d bytes %q", limit, len(got), got)
		}
	}
}

// TestSyslogVersion: RFC 5424, section 7.2.3, has at most 32 characters for it.
func TestSyslogVersion(t *testing.T) {
	n := &Notifier{cfg: Config{Verifier: "v"}}
	m := n.message(&store.Alert{ID: "a", Finding: unknown("x"), Devices: 1, Since: epoch}, began, epoch)
	got := string(syslogMessage(m, &store.Delivery{Key: "k"}, strings.Repeat("1", 40), maxSyslog))
	if want := `swVersion="` + strings.Repeat("1", 29) + `..."]`; !strings.Contains(got, want) {
		t.Errorf("syslogMessage() = %q, want %q in it", got, want)
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"abc", 3, "abc"},
		{"abcdefgh", 6, "abc..."},
		{"ééé", 5, "é..."},
		{"a\nb\tc", 10, "a b c"},
		{"a\x00\u202eb", 20, "a\ufffd\ufffdb"},
		{"\xff", 10, "\ufffd"},
	} {
		if got := clip(tt.in, tt.limit); got != tt.want {
			t.Errorf("clip(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}
