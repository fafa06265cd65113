package appraise_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

func compileForTest(b ...reference.Baseline) *reference.Set { return reference.Compile(b) }

func ran(path, content string) ima.Measurement {
	sum := sha256.Sum256([]byte(content))
	return ima.Measurement{Path: path, Algorithm: pcr.SHA256, Digest: sum[:]}
}

func listOf(t testing.TB, entries ...ima.Measurement) []byte {
	t.Helper()
	var l ima.Builder
	for _, e := range entries {
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	return l.Bytes()
}

// measure appends entries to the device's list and extends PCR 10.
func (b *bench) measure(entries ...ima.Measurement) {
	b.t.Helper()
	list := listOf(b.t, entries...)
	if err := b.device.Measure(list); err != nil {
		b.t.Fatal(err)
	}
	b.device.IMA = append(b.device.IMA[:len(b.device.IMA):len(b.device.IMA)], list...)
}

func TestFiles(t *testing.T) {
	b := newBench(t).trusting()
	b.wantState(b.attest(), result.Trusted)

	b.measure(ran("/opt/new", "new"))
	r := b.attest()
	b.wantState(r, result.Warning)
	if f := wantFinding(t, r, "file-unknown"); f.Component != "file /opt/new" {
		t.Errorf("component = %q, want file /opt/new", f.Component)
	}

	b.measure(ran("/init", "implant"))
	r = b.attest()
	b.wantState(r, result.Untrusted)
	f := wantFinding(t, r, "file-changed")
	if f.Component != "file /init" || f.Expected == "" || f.Expected == f.Observed {
		t.Errorf("finding = %+v, want /init with two digests", f)
	}

	// Nothing new is sent, but what was seen is not forgotten.
	r = b.attest()
	b.wantState(r, result.Untrusted)
	wantFinding(t, r, "file-changed")
	wantFinding(t, r, "file-unknown")

	// After a reboot with a clean list the device comes back by itself.
	fresh := newBench(t)
	b.device.IMA, b.device.Bank = fresh.device.IMA, fresh.device.Bank
	b.device.BootID[0]++
	b.device.Resets++
	b.wantState(b.attest(), result.Trusted)
}

// TestHostileNames: a file name may hold any byte; references keep it, findings show it escaped (ATTACKS row 14).
func TestHostileNames(t *testing.T) {
	hostile := "/tmp/\xff\x1b[31m\u202e<script>'; DROP TABLE devices;--\n"
	b := newBench(t).trusting()
	b.measure(ran(hostile, "x"))
	r := b.attest()
	f := wantFinding(t, r, "file-unknown")
	if strings.ContainsFunc(f.Component, func(c rune) bool { return !unicode.IsPrint(c) }) || !utf8.ValidString(f.Component) {
		t.Errorf("component = %q, want it printable", f.Component)
	}
	b.set = compileForTest(b.baseline("r7-with-the-file"))
	signed, err := reference.Sign(b.baseline("hostile"), newKey(t))
	if err != nil || len(signed) == 0 {
		t.Fatal(err)
	}
	b.wantState(b.attest(), result.Trusted)

	odd := newBench(t)
	odd.device.Platform.Model = "R7\u00a0\u202e\x00"
	if got := odd.attest().Model; got != "R7\u00a0\u202e\ufffd" {
		t.Errorf("model = %q, want it without control characters and otherwise as it was said", got)
	}

	b.device.Platform.Model = "R7\x00\x1b[2J"
	if f := wantFinding(t, b.attest(), "model-changed"); strings.ContainsAny(f.Observed, "\x00\x1b") {
		t.Errorf("observed = %q, want it printable", f.Observed)
	}
}

func TestViolation(t *testing.T) {
	b := newBench(t).trusting()
	b.measure(ima.Measurement{Path: "/etc/ld.so.cache", Algorithm: pcr.SHA256, Digest: make([]byte, 32), Violation: true})
	r := b.attest()
	b.wantState(r, result.Warning)
	if f := wantFinding(t, r, "ima-violation"); !strings.Contains(f.Component, "/etc/ld.so.cache") {
		t.Errorf("component = %q, want the path", f.Component)
	}
}

func TestListIsExtendedWhileItIsRead(t *testing.T) {
	b := newBench(t).trusting()
	quoted := b.device.Bank.Clone()
	entries := b.attest().IMAEntries
	b.measure(ran("/late", "late"))
	b.device.Bank = quoted // the quote was made before the entry was
	r := b.attest()
	b.wantState(r, result.Trusted)
	if r.IMAEntries != entries {
		t.Errorf("%d entries appraised, want the %d that the quote covers", r.IMAEntries, entries)
	}
	// The next quote covers it: it is sent again, from where the verifier stands.
	if err := b.device.Measure(listOf(t, ran("/late", "late"))); err != nil {
		t.Fatal(err)
	}
	r = b.attest()
	wantFinding(t, r, "file-unknown")
	if r.IMAEntries != entries+1 {
		t.Errorf("%d entries appraised, want %d", r.IMAEntries, entries+1)
	}
}

func TestEditedList(t *testing.T) {
	b := newBench(t).trusting()
	b.measure(ran("/usr/bin/implant", "implant"))
	b.device.IMA = newBench(t).device.IMA // the entry is hidden
	r := b.attest()
	b.wantState(r, result.Untrusted)
	wantFinding(t, r, "ima-mismatch")
}

// TestListWithoutTPM: on some boards IMA starts before the TPM's driver. The list is full, PCR 10 is zero.
func TestListWithoutTPM(t *testing.T) {
	b := newBench(t).trusting()
	if err := b.device.Bank.Set(ima.PCR, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	r := b.attest()
	b.wantState(r, result.Warning)
	wantFinding(t, r, "ima-unbound")
	if got := r.Submods[result.Runtime].Status(); got != "warning" {
		t.Errorf("runtime status = %s, want warning", got)
	}
}

func TestListOfAnotherBoot(t *testing.T) {
	d, err := appraisetest.New(fixture(t, "eventlogs", "grub-secure-boot"), fixture(t, "ima", "uki"))
	if err != nil {
		t.Fatal(err)
	}
	b := benchFor(t, d)
	r := b.attest()
	b.wantState(r, result.Untrusted)
	wantFinding(t, r, "ima-boot-aggregate")
}

// TestReferencesChangeUnderARunningDevice: what was sent before is judged anew, for the list is asked for from its start.
func TestReferencesChangeUnderARunningDevice(t *testing.T) {
	b := newBench(t).trusting()
	b.wantState(b.attest(), result.Trusted)
	stricter := b.baseline("r7-strict")
	stricter.Files = stricter.Files[1:]
	b.set = compileForTest(stricter)
	if c := b.challenge(); c.IMAFrom != 0 {
		t.Errorf("the challenge asks from entry %d, want 0", c.IMAFrom)
	}
	wantFinding(t, b.attest(), "file-unknown")
}

func TestManyUnknownFilesKeepTheWorst(t *testing.T) {
	b := newBench(t).trusting()
	for i := range 200 {
		b.measure(ran(fmt.Sprintf("/tmp/unknown-%d", i), fmt.Sprint(i)))
	}
	b.measure(ran("/init", "implant"))
	r := b.attest()
	b.wantState(r, result.Untrusted)
	if r.Findings[0].Code != "file-changed" {
		t.Errorf("first finding = %s, want file-changed", r.Findings[0].Code)
	}
	if len(r.Findings) > 32 {
		t.Errorf("%d findings, want at most 32", len(r.Findings))
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
