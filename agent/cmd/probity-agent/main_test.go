package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/probity-attest/probity/agent/link"
	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/proto"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"probity-agent": main})
}

// TestScripts runs testdata/*.txtar. Beside testscript's own commands there are "status N", which wants the exit code of
// the exec before, started with "?", and "swtpm", which starts a TPM and puts its socket into $TPM.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ROOT", filepath.Join(e.WorkDir, "root"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"swtpm": func(ts *testscript.TestScript, _ bool, _ []string) {
				s, err := tpmtest.Launch(context.Background(), tpmtest.Options{})
				ts.Check(err)
				ts.Defer(func() { ts.Check(s.Stop()) })
				ts.Setenv("TPM", s.Socket)
			},
			"status": func(ts *testscript.TestScript, _ bool, args []string) {
				want, cmd := args[0], exec.Command("probity-agent", args[1:]...)
				cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=/"}
				cmd.Dir = ts.Getenv("WORK")
				path, err := exec.LookPath("probity-agent")
				ts.Check(err)
				cmd.Path, cmd.Err = path, nil
				out, err := cmd.CombinedOutput()
				if got := cmd.ProcessState.String(); got != "exit status "+want {
					ts.Fatalf("probity-agent %s: %s (%v), want exit status %s\n%s", strings.Join(args[1:], " "), got, err, want, out)
				}
			},
		},
	})
}

func TestExitCodes(t *testing.T) {
	verdict := func(state string) error {
		return &verdictError{&proto.Receipt{State: state, Reasons: []string{"PCR 7: why"}}}
	}
	for _, tt := range []struct {
		err  error
		want int
		says string
	}{
		{nil, 0, ""},
		{errors.New("broken"), 1, "broken"},
		{&usageError{errors.New("bad flag")}, 2, "bad flag"},
		{errors.Join(&usageError{errors.New("bad flag")}, errors.New("and more")), 2, "and more"},
		{verdict("warning"), 3, "this device is warning\n  PCR 7: why"},
		{verdict("untrusted"), 3, "untrusted"},
		{verdict("unsupported"), 5, "unsupported"},
		{verdict("stale"), 5, "stale"},
		{verdict("never-attested"), 5, "never-attested"},
		{verdict("new in 2030"), 5, "new in 2030"},
		{&link.DeniedError{Code: "token-used", Message: "used up"}, 1, "token-used"},
		{&link.RejectedError{Code: "pcr-values", Reasons: []string{"x"}}, 1, "pcr-values"},
	} {
		var b strings.Builder
		if got := exitCode(tt.err, &b); got != tt.want || !strings.Contains(b.String(), tt.says) {
			t.Errorf("exitCode(%v) = %d, printing %q, want %d", tt.err, got, &b, tt.want)
		}
	}
}

// TestDependencies keeps out of devices what has no business there.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 50 {
		t.Fatalf("only %d dependencies listed", len(deps))
	}
	for _, d := range deps {
		for forbidden, why := range map[string]string{
			"github.com/probity-attest/probity/verifier": "a device needs no verifier, and must not be one",
			"database/sql":                     "a device keeps no database",
			"modernc.org/sqlite":               "a device keeps no database",
			"net/http":                         "the agent speaks MQTT only: no HTTP stack to keep patched in the field",
			"net/http/pprof":                   "no listening port",
			"golang.org/x/net/websocket":       "the agent speaks MQTT over TLS only",
			"github.com/gorilla/websocket":     "the agent speaks MQTT over TLS only",
			"github.com/danielgtaylor/huma":    "no web framework",
			"github.com/mochi-mqtt/server":     "no broker",
			"github.com/prometheus":            "no listening port",
			"os/exec":                          "the agent executes nothing",
			"plugin":                           "the agent loads nothing",
			"github.com/google/go-attestation": "it parses what devices send less strictly than we do",
			"github.com/probity-attest/probity/agent/tpm/tpmtest": "tests only",
			"testing": "tests only",
		} {
			if d == forbidden || strings.HasPrefix(d, forbidden+"/") {
				t.Errorf("the agent depends on %s: %s", d, why)
			}
		}
	}
}

// TestSize holds the binary under 8 MB on the smallest devices.
func TestSize(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: it builds the agent for two more platforms")
	}
	for _, arch := range []string{"arm", "arm64"} {
		out := filepath.Join(t.TempDir(), "probity-agent")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOARM=7")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", arch, err, b)
		}
		info, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", arch, info.Size())
		if info.Size() >= 8_000_000 {
			t.Errorf("%s: %d bytes, want under 8 MB", arch, info.Size())
		}
	}
}

func TestCancelledRunIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := run(ctx, []string{
		"run", "--identity", "software", "--state-dir", t.TempDir(), "--verifier", "mqtts://127.0.0.1:1",
		"--ca-fingerprint", "sha256:" + strings.Repeat("ab", 32), "--token", "pbt1.acme.id.secret",
	}, nil, io.Discard, io.Discard)
	if err != nil {
		t.Errorf("run = %v after its context ended, want nil", err)
	}
}
