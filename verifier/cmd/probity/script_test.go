package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/probity-attest/probity/verifier/api/apitest"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"probity": main})
}

// Own logs and lists of real boots, and the larger collection beside the repository, if it is there.
const (
	testdata = "../../../testdata"
	corpus   = "../../../../shared/corpus"
)

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// prepare gives a script a home. Programs with the race detector would wait a second before each exit, for goroutines
// that have nothing to say any more.
func prepare(env *testscript.Env) {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("GORACE", "atexit_sleep_ms=0")
}

// Scripts in offline need files only; each in online gets a verifier's API of its own.
func TestOffline(t *testing.T) {
	dir := absolute(t, testdata)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script/offline",
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(env *testscript.Env) error {
			env.Setenv("TESTDATA", dir)
			prepare(env)
			return nil
		},
	})
}

func TestOnline(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/online/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			o := &online{server: apitest.Start(t)}
			testscript.Run(t, testscript.Params{
				Files:               []string{script},
				RequireExplicitExec: true,
				Setup:               o.setup,
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"exits": exits, "device": o.device, "record": o.record, "answer": o.answer, "token": o.token,
					"event": o.event, "context": o.context, "publish": o.publish, "seen": o.seen, "sends": o.sends, "captured": o.captured,
				},
			})
		})
	}
}

// exits runs "exits CODE COMMAND...", which must end with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// online is the verifier of a script and the commands that change its world.
type online struct{ server *apitest.Server }

func (o *online) setup(env *testscript.Env) error {
	prepare(env)
	for name, value := range map[string]string{
		"PROBITY_URL": o.server.URL, "PROBITY_CA_FINGERPRINT": o.server.Fingerprint, "PROBITY_TOKEN": o.server.Operator,
		"EDGE": apitest.ID("edge"), "CORE": apitest.ID("core"),
	} {
		env.Setenv(name, value)
	}
	return nil
}

// hostile is what a device may say of itself to fool an operator's terminal.
const hostile = "R7\x1b[2J\u009b31m\u202etsurt\u200b\nTRUSTED"

// device adds one: "device NAME [status=pending] [label=..] [vendor=..] [model=hostile]".
func (o *online) device(ts *testscript.TestScript, _ bool, args []string) {
	d := store.Device{
		Tenant: apitest.Tenant, ID: apitest.ID(args[0]), Status: store.Active, Level: result.Certified,
		State: result.NeverAttested, EKIssuer: "CN=Acme TPM Root",
	}
	for _, a := range args[1:] {
		name, value, _ := strings.Cut(a, "=")
		if value == "hostile" {
			value = hostile
		}
		switch name {
		case "status":
			d.Status = store.Status(value)
		case "label":
			d.Label = value
		case "vendor":
			d.Vendor = value
		case "model":
			d.Model = value
		default:
			ts.Fatalf("unknown argument %q", a)
		}
	}
	_, err := o.server.Store.SaveDevice(context.Background(), d)
	ts.Check(err)
}

func resultOf(state string) result.Result {
	r := result.Result{
		State: result.State(state), Level: result.Certified, Policy: "default", BootID: "0123", Resets: 7, Bank: "sha256",
		PCRs:       map[string]string{"4": strings.Repeat("ab", 32), "10": strings.Repeat("cd", 32)},
		References: []string{"r7-2.5"}, IMAEntries: 1650,
	}
	switch r.State {
	case result.Untrusted:
		r.Findings = []result.Finding{{
			Code: "boot-event-unknown", Severity: result.Critical, Submod: result.Boot,
			Component: `PCR 4, boot application \EFI\BOOT\BOOTX64.EFI`, Expected: "cce9393263df526c", Observed: "5f21ff2c0d5d8998",
			Nearest: "r7-2.4.1", Meaning: "this program is in no baseline", Action: "compare it with the vendor's release",
			FirstSeen: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		}, {Code: "update", Severity: result.Info, Submod: result.Boot, Component: "model", Meaning: hostile, Action: "none"}}
	case result.Warning:
		r.Findings = []result.Finding{{
			Code: "secure-boot-off", Severity: result.Warn, Submod: result.Boot, Component: "Secure Boot",
			Meaning: "it is off", Action: "switch it on",
		}}
	}
	return r
}

// regions is what a hostile device says of its flash memory.
var regions = []result.Region{
	{Name: "bios", Source: "mtd:bios", Length: 8 << 20, Digest: strings.Repeat("12", 32), Status: result.RegionChanged},
	{
		Name: "env", Source: "mtd:env", Length: 65536, Digest: strings.Repeat("34", 32), Status: result.RegionSame,
		Excluded: []result.Span{{Length: 16}, {Offset: 4096, Length: 4096}}, Left: 8208,
	},
	{Name: hostile, Source: "spi:1.0", Status: result.RegionUnavailable, Reason: "permission: not root"},
}

// record stores a result: "record NAME STATE|changed [stale|flash]".
func (o *online) record(ts *testscript.TestScript, _ bool, args []string) {
	r := resultOf(args[1])
	if args[1] == "changed" {
		changedFlash(&r)
	}
	if len(args) == 3 && args[2] == "stale" {
		r.At = time.Now().Add(-3 * time.Hour)
		r.StaleAt = r.At.Add(time.Hour)
	}
	if len(args) == 3 && args[2] == "flash" {
		r.Regions, r.FlashAge = regions, 7200
		r.Strength = result.Strengths{
			Identity: result.Hardware, Boot: result.Hardware, Runtime: result.MeasuredAgent, Flash: result.SelfAsserted, Platform: result.None,
		}
		r.Findings = []result.Finding{{
			Code: "tamper-open", Severity: result.Critical, Submod: result.Platform, Component: "tamper line lid", Observed: "open",
			Meaning: "the enclosure is open", Action: "look",
		}, {
			Code: "inventory-unknown", Severity: result.Warn, Submod: result.Platform, Component: "spi spi9.0", Observed: "implant",
			Meaning: "the reference values do not know this hardware", Action: "look",
		}}
	}
	ts.Check(o.server.Fleet.Record(context.Background(), apitest.Tenant, apitest.ID(args[0]), r))
}

// answer says what challenges give: "answer STATE|rejection|silence".
func (o *online) answer(_ *testscript.TestScript, _ bool, args []string) {
	o.server.Fleet.Answer(func(string) *result.Result {
		switch args[0] {
		case "rejection":
			return &result.Result{}
		case "silence":
			return nil
		}
		r := resultOf(args[0])
		return &r
	})
}

// token sets the script's token: "token expired|revoked|enrolment|operator".
func (o *online) token(ts *testscript.TestScript, _ bool, args []string) {
	t := store.Token{Tenant: apitest.Tenant, Operator: args[0] != "enrolment", Revoked: args[0] == "revoked"}
	if args[0] == "expired" {
		t.Expires = time.Now().Add(-time.Minute)
	}
	ts.Setenv("PROBITY_TOKEN", o.addToken(ts, t))
}

func (o *online) addToken(ts *testscript.TestScript, t store.Token) string {
	text, err := apitest.NewToken(o.server.Store, t)
	ts.Check(err)
	return text
}

// context writes the connection to a file: "context FILE".
func (o *online) context(ts *testscript.TestScript, _ bool, args []string) {
	text := fmt.Sprintf("url: %s\nca_fingerprint: %s\ntoken: %s\n", o.server.URL, o.server.Fingerprint, o.server.Operator)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// event adds events: "event COUNT".
func (o *online) event(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for i := range n {
		ts.Check(o.server.Store.AddEvent(context.Background(), store.Event{
			At: time.Now(), Tenant: apitest.Tenant, Kind: "test", Actor: "verifier", Detail: fmt.Sprintf("event %d %s", i, hostile),
		}))
	}
}

// skipWithout skips visibly where the collection is not beside the repository.
func skipWithout(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Skipf("SKIPPED: %s is not there: %v", path, err)
	}
}
