package verifier

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto/daemon"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

func TestDefaultConfigIsGood(t *testing.T) {
	c := DefaultConfig()
	if err := c.Check(); err != nil {
		t.Errorf("default configuration: %v", err)
	}
	p, err := c.Policy.compile()
	if err != nil {
		t.Fatal(err)
	}
	standard := appraise.DefaultPolicy()
	if got, want := p.ID(), standard.ID(); got != want {
		t.Errorf("default configuration gives policy %s, want the default %s", got, want)
	}
}

// wrong has a wrong value for every key that can have one, and what the message must say beside the key.
var wrong = []struct {
	key    string
	set    func(*Config)
	advice string
}{
	{"state-dir", func(c *Config) { c.StateDir = "" }, "name a folder"},
	{"tenant", func(c *Config) { c.Tenant = "Acme Corp" }, `"Acme Corp": want 1 to 32 of a-z, 0-9 and -`},
	{"tenant", func(c *Config) { c.Tenant = "" }, "want 1 to 32"},
	{"hosts", func(c *Config) { c.Hosts = []string{"ok.example", "https://verifier.example:8443"} }, "without scheme and port"},
	{"hosts", func(c *Config) { c.Hosts = []string{""} }, "want DNS names and IP addresses"},
	{"hosts", func(c *Config) { c.Hosts = []string{"a..b"} }, "want DNS names and IP addresses"},
	{"hosts", func(c *Config) { c.Hosts = []string{strings.Repeat("a.", 127)} }, "want DNS names and IP addresses"},
	{"hosts", func(c *Config) { c.Hosts = []string{strings.Repeat("a", 64)} }, "want DNS names and IP addresses"},
	{"mqtt.listen", func(c *Config) { c.MQTT.Listen = "8883" }, `"8883": want HOST:PORT or :PORT`},
	{"mqtt.listen", func(c *Config) { c.MQTT.Listen = ":88830" }, "to 65535"},
	{"api.listen", func(c *Config) { c.API.Listen = "localhost" }, "want HOST:PORT or :PORT"},
	{"api.listen", func(c *Config) { c.API.Listen = "localhost:https" }, "want HOST:PORT or :PORT"},
	{"enrollment.certificate-lifetime", func(c *Config) { c.Enrollment.CertificateLifetime = time.Second }, "1s: want at least 1m"},
	{"policy.interval", func(c *Config) { c.Policy.Interval = c.Policy.StaleAfter }, "less than policy.stale-after (15m0s)"},
	{"policy.interval", func(c *Config) { c.Policy.Interval = -time.Second }, "want at least 1s"},
	{"policy.interval", func(c *Config) { c.Policy.Interval = 500 * time.Millisecond }, "want at least 1s"},
	{"policy.stale-after", func(c *Config) { c.Policy.StaleAfter = 10 * time.Millisecond }, "10ms: want at least 1s"},
	{"policy.secure-boot", func(c *Config) { c.Policy.SecureBoot = "on" }, `"on": want one of ["ignored" "reference" "required"]`},
	{"policy.ima", func(c *Config) { c.Policy.IMA = "" }, `want one of ["ignored" "reference" "required"]`},
	{"policy.boot-log", func(c *Config) { c.Policy.BootLog = "reference" }, `want one of ["ignored" "required"]`},
	{"policy.unlogged-pcrs", func(c *Config) { c.Policy.Unlogged = []string{"11", "16"} }, `"16": want numbers of PCRs, of 0-15`},
	{"policy.unlogged-pcrs", func(c *Config) { c.Policy.Unlogged = []string{"11x"} }, `"11x": want numbers of PCRs`},
	{"policy.unlogged-pcrs", func(c *Config) { c.Policy.Unlogged = []string{"-1"} }, "want numbers of PCRs"},
	{"policy.unknown-file", func(c *Config) { c.Policy.UnknownFile = "error" }, `want one of ["info" "warning" "critical"]`},
	{"policy.ima-violation", func(c *Config) { c.Policy.Violation = "Info" }, `want one of ["info" "warning" "critical"]`},
	{"policy.flash", func(c *Config) { c.Policy.Flash = "on" }, `"on": want one of ["ignored" "reference" "required"]`},
	{"policy.flash-max-age", func(c *Config) { c.Policy.FlashMaxAge = time.Second }, "1s: want at least 1m"},
	{"policy.banks", func(c *Config) { c.Policy.Banks = nil }, "want at least one of sha256, sha384 and sha1"},
	{"policy.banks", func(c *Config) { c.Policy.Banks = []string{"sha256", "sha512"} }, `"sha512": want sha256, sha384 and sha1`},
	{"policy.banks", func(c *Config) { c.Policy.Banks = []string{"SHA256"} }, `"SHA256": want sha256`},
	{"policy.banks", func(c *Config) { c.Policy.Banks = []string{"sha1", "sha256", "sha1"} }, "at most once"},
	{"policy.min-identity", func(c *Config) { c.Policy.MinLevel = "software" }, `want one of ["first-use" "pinned" "certified"]`},
	{"access.url", func(c *Config) { c.Access.URL = "http://v.example" }, "want https://HOST"},
	{"access.url", func(c *Config) { c.Access.URL = "https://v.example/probity" }, "want https://HOST"},
	{"access.session-lifetime", func(c *Config) { c.Access.SessionLifetime = time.Second }, "1s: want at least 1m"},
	{"access.session-idle", func(c *Config) { c.Access.SessionIdle = 0 }, "0s: want at least 1m"},
	{"access.oidc", func(c *Config) { c.Access.OIDC = []OIDC{{ID: "corp", Issuer: "http://idp", ClientID: "x"}} }, "want an https URL"},
	{"access.oidc", func(c *Config) { c.Access.OIDC = []OIDC{{ID: "Corp!", Issuer: "https://idp", ClientID: "x"}} }, "1 to 32 of a-z"},
	{"api.gate-header", func(c *Config) { c.API.GateHeader = "x device" }, `"x device": want the name of a header`},
	{"alerts.dashboard", func(c *Config) { c.Alerts.Dashboard = "probity.example.net" }, "want a URL such as https://"},
	{"alerts.dashboard", func(c *Config) { c.Alerts.Dashboard = "https://ada:secret@probity.example.net" }, "want a URL such as https://"},
	{"tracing.endpoint", func(c *Config) { c.Tracing.Endpoint = "collector:4318" }, `"collector:4318": want a URL`},
	{"tracing.sample", func(c *Config) { c.Tracing.Sample = 1.5 }, "1.5: want 0 to 1"},
	{"log.format", func(c *Config) { c.Log.Format = "xml" }, "want text or json"},
	{"log.level", func(c *Config) { c.Log.Level = "loud" }, "want debug, info, warn or error"},
}

// anything are the keys whose every value makes sense, with the reason.
var anything = map[string]string{
	"name":                 "a text for people",
	"enrollment.tpm-roots": "a folder that is made if it is absent; whether it can be is known when it is opened",
	"enrollment.first-use": "true or false",
	"access.client-cas":    "a file; whether it is one is known when it is opened",
	"access.ca-file":       "likewise",
	"alerts.ca-file":       "likewise",
	"alerts.allow-local":   "true or false",
}

func TestCheckRefuses(t *testing.T) {
	for _, tt := range wrong {
		c := DefaultConfig()
		tt.set(&c)
		err := c.Check()
		if err == nil {
			t.Errorf("a wrong %s passes", tt.key)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != 1 || !strings.HasPrefix(lines[0], tt.key+": ") || !strings.Contains(lines[0], tt.advice) {
			t.Errorf("a wrong %s: message %q, want one line that begins with the key and says %q", tt.key, err, tt.advice)
		}
	}
}

// TestCheckKnowsEveryKey: no key is left unchecked by oversight.
func TestCheckKnowsEveryKey(t *testing.T) {
	tested := map[string]bool{}
	for _, tt := range wrong {
		tested[tt.key] = true
	}
	keys := 0
	c := DefaultConfig()
	for line := range strings.Lines(daemon.Describe(&c, EnvPrefix)) {
		key := strings.TrimSpace(line)
		if strings.HasPrefix(line, " ") || key == "" {
			continue
		}
		keys++
		if free := anything[key] != ""; tested[key] == free {
			t.Errorf("key %s: tested with a wrong value %t, free to be anything %t: want one of them", key, tested[key], free)
		}
	}
	if want := len(anything) + len(tested); keys != want {
		t.Errorf("the configuration has %d keys, the tests know %d", keys, want)
	}
}

// TestCheckTellsAllAtOnce, in the same order every time.
func TestCheckTellsAllAtOnce(t *testing.T) {
	c := DefaultConfig()
	c.Tenant, c.MQTT.Listen, c.API.Listen, c.Policy.IMA, c.Policy.BootLog, c.Log.Level = "A", "x", "y", "a", "b", "loud"
	var keys []string
	for line := range strings.Lines(c.Check().Error()) {
		key, _, _ := strings.Cut(line, ": ")
		keys = append(keys, key)
	}
	want := []string{"tenant", "mqtt.listen", "api.listen", "policy.ima", "policy.boot-log", "log.level"}
	if d := cmp.Diff(want, keys); d != "" {
		t.Errorf("keys that are named (-want +got):\n%s", d)
	}
}

func TestCompilePolicy(t *testing.T) {
	c := DefaultConfig()
	c.Policy = Policy{
		StaleAfter: time.Hour, SecureBoot: "required", IMA: "ignored", BootLog: "ignored", Unlogged: []string{"15", "11", "11"},
		UnknownFile: "critical", Violation: "info", MinLevel: "certified",
		Flash: "required", FlashMaxAge: time.Minute, Banks: []string{"sha384", "sha1"},
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	got, err := c.Policy.compile()
	if err != nil {
		t.Fatal(err)
	}
	want := appraise.DefaultPolicy()
	want.StaleAfter, want.SecureBoot, want.IMA, want.BootLog = time.Hour, appraise.Required, appraise.Ignored, appraise.Ignored
	want.Unlogged = pcr.Select(11, 15)
	want.UnknownFile, want.Violation, want.MinLevel = result.Critical, result.Info, result.Certified
	want.Flash, want.FlashMaxAge, want.Banks = appraise.Required, time.Minute, []pcr.Algorithm{pcr.SHA384, pcr.SHA1}
	if got.ID() != want.ID() {
		t.Errorf("compile = %+v, want %+v", got, want)
	}
}

func TestPaths(t *testing.T) {
	c := Config{StateDir: "/s"}
	if got, want := c.roots(), filepath.Join("/s", "tpm-roots"); got != want {
		t.Errorf("roots() = %q, want %q", got, want)
	}
	c.Enrollment.Roots = "/r"
	if got := c.roots(); got != "/r" {
		t.Errorf("roots() = %q, want /r", got)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.name(); got != host {
		t.Errorf("name() = %q, want the host's name %q", got, host)
	}
	c.Name = "berlin-1"
	if got := c.name(); got != "berlin-1" {
		t.Errorf("name() = %q, want berlin-1", got)
	}
}

// TestHosts: what devices are told comes first, and the certificate covers all ways to reach the verifier.
func TestHosts(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	got := c.hosts()
	if got[0] != host {
		t.Errorf("by default devices are told %q, want this host's name %q: the API's address is this machine's loopback", got[0], host)
	}
	for _, want := range []string{"localhost", "127.0.0.1"} {
		if !slices.Contains(got, want) {
			t.Errorf("hosts() = %q, without %s", got, want)
		}
	}
	for i, h := range got {
		if ip := net.ParseIP(h); slices.Contains(got[i+1:], h) || ip.IsUnspecified() || ip.IsLinkLocalUnicast() {
			t.Errorf("hosts() = %q: %s is there twice or of no use in a certificate", got, h)
		}
	}
	for listen, first := range map[string]string{
		"verifier.example:8883": "verifier.example", "192.0.2.7:8883": "192.0.2.7", "[2001:db8::7]:8883": "2001:db8::7",
		"0.0.0.0:8883": host, "[::]:8883": host, ":8883": host,
	} {
		c.MQTT.Listen, c.API.Listen = listen, "192.0.2.8:8443"
		if got := c.hosts(); got[0] != first || !slices.Contains(got, "192.0.2.8") {
			t.Errorf("mqtt.listen %s: hosts() = %q, want %s first and 192.0.2.8 among them", listen, got, first)
		}
	}
	c.Hosts = []string{"only.example"}
	if got := c.hosts(); got[0] != "only.example" || !slices.Contains(got, "127.0.0.1") || slices.Contains(got, host) {
		t.Errorf("hosts() = %q, want what is configured first, then only what this machine calls itself", got)
	}
}
