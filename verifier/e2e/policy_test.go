package e2e

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

const policyText = `version: 1
name: acme
groups:
  - name: lab
    match: {groups: [lab]}
    rules:
      - {name: sealed, when: 'device.identity != "certified" || result.bank == "sha1"', severity: critical, message: not good enough}
waivers:
  - {finding: file-changed, component: "file /bin/busybox", groups: [lab], owner: alice, reason: debugging, expires: 2099-12-31}
`

// TestPolicyOfAnOperator: an operator tests a policy document, sets it, and real devices are appraised by it, each by
// its group's part.
func TestPolicyOfAnOperator(t *testing.T) {
	w := newWorld(t, nil)
	lab, field := w.device(w.CA, healthy(t)), w.device(w.CA, healthy(t))
	lab.attest(result.Unsupported)
	lab.baseline("r7-2.4.1")
	for _, d := range []*device{lab, field} {
		d.attest(result.Trusted)
		if err := d.v.Ran("/bin/busybox", sha256.Sum256([]byte("implant"))); err != nil {
			t.Fatal(err)
		}
		d.attest(result.Untrusted)
	}
	w.Must(http.MethodPatch, "/v1/devices/"+lab.id, map[string]any{"group": "lab", "label": "lab-1"}, nil)

	probity := w.command()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(policyText), 0o600); err != nil {
		t.Fatal(err)
	}
	out, messages := probity("policy", "test", file)
	if !strings.Contains(out, "2 devices, 1 would change") || !strings.Contains(out, "lab-1") {
		t.Errorf("probity policy test: %s%s, want that one device would change", out, messages)
	}
	lab.attest(result.Untrusted) // nothing was switched
	if _, messages = probity("policy", "set", file, "--yes"); !strings.Contains(messages, "policy acme, version 1, is in force") {
		t.Errorf("probity policy set: %s", messages)
	}
	lab.attest(result.Trusted)
	r := w.Newest(lab.id)
	f := lab.finding("file-changed")
	if f.Waiver == nil || f.Waiver.Owner != "alice" || f.Waiver.Was != result.Critical || !strings.HasPrefix(r.Policy, "acme@1/lab/") {
		t.Errorf("policy %s, finding %+v with waiver %+v, want it waived by alice", r.Policy, f, f.Waiver)
	}
	field.attest(result.Untrusted)
	if r := w.Newest(field.id); !strings.HasPrefix(r.Policy, "acme@1/default/") {
		t.Errorf("policy = %s, want the default of acme", r.Policy)
	}

	// A stricter version, through the API: the waived device is judged by the expression.
	stricter := strings.Replace(policyText, `result.bank == "sha1"`, `result.bank == "sha256"`, 1)
	w.Must(http.MethodPut, "/v1/policy", v1.NewPolicy{Document: stricter, BasedOn: 1}, nil)
	lab.attest(result.Untrusted)
	if f := lab.finding("policy-rule"); f.Meaning != "not good enough" {
		t.Errorf("finding = %+v, want that of the rule", f)
	}
	// It outlives the verifier.
	w.Stop()
	w.Start()
	lab.attest(result.Untrusted)
	if out, _ = probity("policy", "versions"); !strings.Contains(out, "2        acme  yes") {
		t.Errorf("probity policy versions: %s, want version 2 in force", out)
	}
}

// command builds the operator's command and returns what runs it against this world.
func (w *world) command() func(args ...string) (stdout, stderr string) {
	w.t.Helper()
	run := w.program("PROBITY_CONTEXT=" + filepath.Join(w.Config.StateDir, "operator.yaml"))
	return func(args ...string) (string, string) {
		w.t.Helper()
		stdout, stderr, err := run(args...)
		if err != nil {
			w.t.Errorf("probity %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
		}
		return stdout, stderr
	}
}

// program builds the operator's command and returns what runs it with more in its environment.
func (w *world) program(env ...string) func(args ...string) (stdout, stderr string, err error) {
	w.t.Helper()
	binary := filepath.Join(w.t.TempDir(), "probity")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/probity").CombinedOutput(); err != nil {
		w.t.Fatalf("go build: %v\n%s", err, out)
	}
	return func(args ...string) (string, string, error) {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(binary, args...)
		cmd.Env = append(os.Environ(), env...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		return stdout.String(), stderr.String(), err
	}
}
