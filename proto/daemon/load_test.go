package daemon

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

type hook struct {
	URL     string        `koanf:"url" doc:"where to"`
	Timeout time.Duration `koanf:"timeout" doc:"how long"`
}

type config struct {
	Verifier string            `koanf:"verifier" doc:"address"`
	Token    string            `koanf:"token" secret:"true" doc:"secret"`
	Interval time.Duration     `koanf:"interval" doc:"how often"`
	Memory   Size              `koanf:"memory" doc:"how much"`
	Retries  int               `koanf:"retries" doc:"how many"`
	Workers  uint8             `koanf:"workers" doc:"how many at once"`
	Share    float64           `koanf:"share" doc:"of the processor"`
	Once     bool              `koanf:"once" doc:"once only"`
	Banks    []string          `koanf:"banks" doc:"PCR banks"`
	Labels   map[string]string `koanf:"labels" doc:"labels"`
	Hooks    []hook            `koanf:"hooks" doc:"webhooks"`
	Prefix   netip.Prefix      `koanf:"prefix" doc:"network"`
	Log      struct {
		Format string `koanf:"format" doc:"text or json"`
		Level  string `koanf:"level" doc:"how much"`
	} `koanf:"log"`
	Internal int // no key
}

func defaults() *config {
	c := &config{Verifier: "default", Interval: time.Minute, Banks: []string{"sha256"}}
	c.Log.Format = "text"
	return c
}

func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(fs, defaults())
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestLoadEveryType(t *testing.T) {
	c := defaults()
	err := Load(c, Source{File: file(t, `
# a comment
verifier: mqtts://h:8883
token: "1234"
interval: 1h30m
memory: 10MiB
retries: -3
workers: 255
share: 0.5
once: true
banks: [sha384, "sha256"]
labels:
  site.name: Zürich
  empty: ""
hooks:
  - url: https://a
    timeout: 5s
  - {url: https://b}
prefix: 10.0.0.0/8
log:
  level: debug
`), Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Verifier, want.Token, want.Interval, want.Memory = "mqtts://h:8883", "1234", 90*time.Minute, 10<<20
	want.Retries, want.Workers, want.Share, want.Once = -3, 255, 0.5, true
	want.Banks = []string{"sha384", "sha256"}
	want.Labels = map[string]string{"site.name": "Zürich", "empty": ""}
	want.Hooks = []hook{{"https://a", 5 * time.Second}, {URL: "https://b"}}
	want.Prefix = netip.MustParsePrefix("10.0.0.0/8")
	want.Log.Level = "debug"
	if diff := cmp.Diff(want, c, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestPrecedence(t *testing.T) {
	all := Source{
		File:      file(t, "verifier: file\nretries: 1\nbanks: [a, b]\nlog: {format: json, level: info}\n"),
		EnvPrefix: "P_",
		Environ:   []string{"P_RETRIES=2", "P_VERIFIER=env", "P_LOG_LEVEL=warn", "P_BANKS=c, d,", "HOME=/", "P=1"},
		Flags:     flags(t, "--verifier", "flag", "--banks=e", "--banks", "f,g", "--once"),
	}
	c := defaults()
	if err := Load(c, all); err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Verifier, want.Retries, want.Once = "flag", 2, true
	want.Banks = []string{"e", "f", "g"}
	want.Log.Format, want.Log.Level = "json", "warn"
	if diff := cmp.Diff(want, c, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}

	t.Setenv("P_RETRIES", "7")
	c = defaults()
	if err := Load(c, Source{EnvPrefix: "P_"}); err != nil || c.Retries != 7 {
		t.Errorf("Load from the process's environment: %d, %v, want 7", c.Retries, err)
	}
	if err := Load(defaults(), Source{}); err != nil {
		t.Errorf("Load from nowhere = %v", err)
	}
	foreign := pflag.NewFlagSet("foreign", pflag.ContinueOnError)
	foreign.Int("retries", 0, "")
	if err := foreign.Parse([]string{"--retries=9"}); err != nil {
		t.Fatal(err)
	}
	if err := Load(c, Source{Flags: foreign}); err != nil || c.Retries != 9 {
		t.Errorf("Load from a flag of another kind: %d, %v, want 9", c.Retries, err)
	}
}

func TestEmptyFilesAndLists(t *testing.T) {
	for _, content := range []string{"", "# nothing\n", "---\n", "{}\n", "null\n"} {
		c := defaults()
		if err := Load(c, Source{File: file(t, content)}); err != nil || c.Verifier != "default" {
			t.Errorf("Load of %q = %v", content, err)
		}
	}
	c := defaults()
	if err := Load(c, Source{File: file(t, "banks: []\nlabels: {}\n")}); err != nil || c.Banks == nil || len(c.Banks) != 0 {
		t.Errorf("banks = %#v, %v, want an empty list in place of the default", c.Banks, err)
	}
}

func TestMistakesInFiles(t *testing.T) {
	for _, tt := range []struct{ content, want string }{
		{"verifer: x", `agent.yaml:1: unknown key "verifer": did you mean "verifier"?`},
		{"log:\n  levle: x", `agent.yaml:2: unknown key "log.levle": did you mean "level"?`},
		{"zzzzzzzz: 1", "known are banks, hooks,"},
		{"internal: 1", "unknown key"},
		{"log.level: x", "unknown key"},
		{"retries: 1\nverifier: x\nretries: 2", `agent.yaml:3: duplicate key "retries", first in line 1`},
		{"log: {level: a, level: b}", "duplicate key"},
		{"labels: {a: b, a: c}", "duplicate key"},
		{"log:\n  level: a\nlog:\n  format: b", "duplicate key"},
		{"interval: 5", `agent.yaml:1: key "interval": value "5": want a duration such as 30s`},
		{"memory: much", "want a number of bytes"},
		{"memory: 99999999999GiB", "want a number of bytes"},
		{"retries: 1.5", "want a whole number of 64 bits"},
		{"workers: 256", "want a whole number of 8 bits, not negative"},
		{"share: half", "want a number"},
		{"once: yes", "want true or false"},
		{"prefix: 10.0.0.0", "prefix"},
		{"banks: sha256: x", "agent.yaml"},
		{"banks: {a: b}", "is a map: want a list"},
		{"verifier: [a]", "is a list: want one text"},
		{"prefix: [a]", "is a list: want one value"},
		{"labels: [a]", "is a list: want a map"},
		{"labels: {a: [b]}", `entry "a"`},
		{"hooks: {url: x}", "want a list of maps"},
		{"hooks: [{ulr: x}]", `did you mean "url"?`},
		{"hooks: [a]", "item 1: value \"a\": want a map of keys"},
		{"hooks:\n- url: x\n- timeout: y", `item 2: key "timeout": value "y"`},
		{"log: text", "agent.yaml:1: want a map of keys"},
		{"verifier:", "no value"},
		{"- a", "want a map of keys"},
		{"verifier: &a x\nlog: {level: *a}", "aliases"},
		{"<<: {verifier: a}", "plain key"},
		{"? [a]\n: b", "plain key"},
		{"verifier: a\n---\nverifier: b", "more than one YAML document"},
		{"verifier: 'a", "agent.yaml"},
		{"labels: {a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}}", "nested too deeply"},
		{"verifier: " + strings.Repeat("x", maxFile), "larger than 1MiB"},
	} {
		err := Load(defaults(), Source{File: file(t, tt.content)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Load of %.60q = %v, want %q in it", tt.content, err, tt.want)
		}
	}
	if err := Load(defaults(), Source{File: "/nonexistent"}); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("Load of a missing file = %v", err)
	}
}

func TestMistakesInTheEnvironment(t *testing.T) {
	err := Load(defaults(), Source{EnvPrefix: "P_", Environ: []string{"P_VERIFER=x", "P_ZZZ=y", "P_RETRIES=1"}})
	for _, part := range []string{`"P_VERIFER": did you mean "P_VERIFIER"?`, `"P_ZZZ"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("Load = %v, want %q in it", err, part)
		}
	}
	err = Load(defaults(), Source{EnvPrefix: "P_", Environ: []string{"P_INTERVAL=x"}})
	if want := `environment variable P_INTERVAL: key "interval": value "x": want a duration`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Load = %v, want %q in it", err, want)
	}
	err = Load(defaults(), Source{EnvPrefix: "P_", Environ: []string{"P_LABELS=x"}})
	if err == nil || !strings.Contains(err.Error(), "name=value") {
		t.Errorf("Load = %v, want the form of a map", err)
	}
	c := defaults()
	if err := Load(c, Source{EnvPrefix: "P_", Environ: []string{"P_LABELS=a=b, c=d=e"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "b", "c": "d=e"}, c.Labels); diff != "" {
		t.Error(diff)
	}
}

// TestServiceLinks: in Kubernetes, a Service named like the prefix must not keep the daemon from starting.
func TestServiceLinks(t *testing.T) {
	for name, ours := range map[string]bool{
		"SERVICE_HOST": false, "SERVICE_PORT": false, "SERVICE_PORT_MQTT": false, "PORT": false, "PORT_8883_TCP": false,
		"PORT_8883_TCP_ADDR": false, "PORT_53_UDP_PORT": false,
		"PORT_X_TCP": true, "PORT_8883": true, "SERVICE": true, "PORTS": true,
	} {
		err := Load(defaults(), Source{EnvPrefix: "PROBITY_VERIFIER_", Environ: []string{"PROBITY_VERIFIER_" + name + "=x"}})
		if (err != nil) != ours {
			t.Errorf("%s: Load = %v, want an error: %t", name, err, ours)
		}
	}
}

func TestMistakesInFlags(t *testing.T) {
	for _, arg := range []string{"--interval=x", "--workers=-1", "--verifer=x", "--once=perhaps", "--memory=1XB"} {
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		AddFlags(fs, defaults())
		if err := fs.Parse([]string{arg}); err == nil {
			t.Errorf("flag %s was accepted", arg)
		}
	}
	fs := flags(t)
	if fs.Lookup("hooks") != nil || fs.Lookup("log-format").DefValue != "text" {
		t.Error("flags differ from the configuration")
	}
	usage := fs.FlagUsages()
	for _, part := range []string{"--interval duration", "--memory size", "--banks list", "--labels name=value", "how often"} {
		if !strings.Contains(usage, part) {
			t.Errorf("usage has no %q:\n%s", part, usage)
		}
	}
}

func TestModeWarnings(t *testing.T) {
	for _, tt := range []struct {
		content string
		mode    os.FileMode
		want    string
	}{
		{"token: x", 0o600, ""},
		{"token: x", 0o640, ""},
		{"token: x", 0o644, "secret \"token\" and is readable by everybody"},
		{"verifier: x", 0o644, ""},
		{"verifier: x", 0o666, "writable by everybody"},
	} {
		name := file(t, tt.content)
		if err := os.Chmod(name, tt.mode); err != nil {
			t.Fatal(err)
		}
		var warnings []string
		err := Load(defaults(), Source{File: name, Warn: func(s string) { warnings = append(warnings, s) }})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(warnings, "\n"); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("mode %o of %q: warnings %q, want %q", tt.mode, tt.content, got, tt.want)
		}
	}
}

func TestDescribeAndShow(t *testing.T) {
	c := defaults()
	c.Token, c.Memory, c.Hooks = "s3cr3t", 10<<20, []hook{{URL: "https://a", Timeout: time.Second}}
	c.Labels = map[string]string{"b": "2", "a": "1"}
	text := Describe(c, "P_")
	for _, part := range []string{
		"log.format\n    text or json\n    default: text\n    environment: P_LOG_FORMAT\n    flag: --log-format\n",
		"interval\n    how often\n    default: 1m0s\n", "default: 10MiB", "default: a=1,b=2", "token\n    secret\n    default: (hidden)\n",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("Describe has no %q:\n%s", part, text)
		}
	}
	if strings.Contains(text, "s3cr3t") || strings.Contains(text, "--hooks") {
		t.Errorf("Describe tells too much:\n%s", text)
	}
	shown, err := Show(c)
	if err != nil || strings.Contains(shown, "s3cr3t") {
		t.Fatalf("Show = %s, %v", shown, err)
	}
	c.Prefix = netip.MustParsePrefix("10.0.0.0/8")
	if shown, err = Show(c); err != nil {
		t.Fatal(err)
	}
	again := &config{} // what is shown is a configuration
	if err := Load(again, Source{File: file(t, shown)}); err != nil {
		t.Fatalf("Load of what Show printed: %v\n%s", err, shown)
	}
	c.Token = hidden
	if diff := cmp.Diff(c, again, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("Show and Load (-want +got):\n%s", diff)
	}
}

func TestSize(t *testing.T) {
	for s, want := range map[string]Size{
		"0": 0, "512": 512, "512B": 512, "1KiB": 1024, "64 MiB": 64 << 20, "2GiB": 2 << 30, "1kB": 1000, "3MB": 3e6, "4GB": 4e9,
	} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "KiB", "-1", "1.5MiB", "1TiB", "18446744073709551615", "9223372036854775807KiB"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, got)
		}
	}
	for s, want := range map[Size]string{0: "0", 1000: "1000", 1024: "1KiB", 3 << 20: "3MiB", 1 << 30: "1GiB", 1<<20 + 1: "1048577"} {
		if got := s.String(); got != want && s != 0 {
			t.Errorf("%d.String() = %q, want %q", uint64(s), got, want)
		}
	}
}

func TestWrongStructsPanic(t *testing.T) {
	for name, cfg := range map[string]any{
		"no pointer": config{},
		"no doc": &struct {
			A int `koanf:"a"`
		}{},
		"bad key": &struct {
			A int `koanf:"A_b" doc:"x"`
		}{},
		"bad type": &struct {
			A chan int `koanf:"a" doc:"x"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = Load(cfg, Source{EnvPrefix: "P_", Environ: []string{"P_A=1"}})
		})
	}
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"verifier: x\nlog: {level: a}\n", "banks: [a, b]\nlabels: {a: b}\n", "hooks:\n- url: x\n", "a: &a [*a]\n"} {
		f.Add([]byte(s))
	}
	x := newIndex(fields(defaults()))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &reader{name: "fuzz", index: x, from: origin{}}
		m, err := r.document(b)
		if err != nil {
			return
		}
		for key := range m {
			_, isField := x.fields[key]
			if !isField && !x.sections[key] {
				t.Errorf("accepted unknown key %q", key)
			}
		}
	})
}
