package inspect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// listed returns evidence with an IMA list.
func listed(t testing.TB, list ...ima.Measurement) *Evidence {
	t.Helper()
	var b ima.Builder
	for _, m := range list {
		if err := b.Append(m); err != nil {
			t.Fatal(err)
		}
	}
	log := bootLog(t)
	e := booted(t, log, log)
	e.IMA, e.Result.IMAEntries = b.Bytes(), uint64(len(list))
	return e
}

func measured(path string, digest byte) ima.Measurement {
	return ima.Measurement{Path: path, Algorithm: pcr.SHA256, Digest: bytes.Repeat([]byte{digest}, 32)}
}

// TestFiles: files by standing: denied and unknown before known, each once, with violations and what was expected.
func TestFiles(t *testing.T) {
	e := listed(t, measured("/bin/sh", 1), measured("/bin/ls", 9), measured("/bin/mv", 3), measured("/bin/sh", 1),
		measured("/opt/x\u202e", 8), measured("/bin/bad", 6),
		ima.Measurement{Path: "/bin/sh", Algorithm: pcr.SHA256, Violation: true},
		ima.Measurement{Path: "/var/log", Algorithm: pcr.SHA256, Violation: true})
	b := baseline(t, bootLog(t))
	for i, path := range []string{"/bin/sh", "/bin/ls", "/bin/cp"} {
		b.Files = append(b.Files, reference.File{Path: []byte(path), Digest: bytes.Repeat([]byte{byte(i + 1)}, 32)})
	}
	denied := reference.DenyList{Advisory: "CVE-1", Issuer: "lab"}
	denied.Entries = append(denied.Entries, denial(6))
	got, err := Files(e, basisOf(t, reference.Documents{Baselines: []reference.Baseline{b}, Denied: []reference.DenyList{denied}}))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range got.Files {
		lines = append(lines, fmt.Sprintf("%s %s %d/%d %s", f.Path, f.Standing, f.Entries, f.Violations, f.Expected))
	}
	want := []string{
		"/bin/bad denied 1/0 ",
		"/bin/sh matched 3/1 ", // for its violation
		"/bin/ls unknown 1/0 " + strings.Repeat("02", 32),
		"/bin/mv unknown 1/0 /bin/cp",
		`/opt/x\u202e unknown 1/0 `,
		"/var/log uncovered 1/1 ",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"denied": 1, "matched": 1, "unknown": 3, "uncovered": 1, Violations: 2}, got.Counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	bare, err := Files(e, basisOf(t, reference.Documents{}))
	if err != nil || bare.Counts["uncovered"] != len(bare.Files) {
		t.Errorf("Files() without reference values: %v, %v", bare.Counts, err)
	}
	e.IMA = e.IMA[:len(e.IMA)-3]
	if _, err := Files(e, basisOf(t, reference.Documents{})); err == nil {
		t.Error("Files() of a list that is cut off succeeds")
	}
	e.IMA = nil
	e.Result.Findings = []result.Finding{{Code: "ima-mismatch", Component: "IMA list", Meaning: "was altered"}}
	if none, err := Files(e, basisOf(t, reference.Documents{})); err != nil || none.NoList != "IMA list: was altered" {
		t.Errorf("NoList = %q, %v", none.NoList, err)
	}
}

// TestFileAfterViolation: what is measured after a violation stands as it would without.
func TestFileAfterViolation(t *testing.T) {
	e := listed(t, ima.Measurement{Path: "/bin/sh", Algorithm: pcr.SHA256, Violation: true}, measured("/bin/sh", 1))
	b := baseline(t, bootLog(t))
	b.Files = append(b.Files, reference.File{Path: []byte("/bin/sh"), Digest: bytes.Repeat([]byte{1}, 32)})
	got, err := Files(e, basisOf(t, reference.Documents{Baselines: []reference.Baseline{b}}))
	if err != nil || len(got.Files) != 1 || got.Files[0].Standing != v1.Matched || got.Files[0].Reference != "golden" || got.Files[0].Violations != 1 {
		t.Errorf("Files() = %+v, %v, want one that matches, with a violation", got.Files, err)
	}
}

// TestFlash: regions of several chips in their order, with every status, and what a report says beyond a result.
func TestFlash(t *testing.T) {
	sum := strings.Repeat("06", 32)
	e := &Evidence{Seq: 3, Claims: &proto.Claims{}, Result: &result.Result{At: now, Vendor: "Acme", Model: "R7", References: []string{"golden"}, FlashAge: 9, Regions: []result.Region{
		{Name: "b", Source: "spi:1", Offset: 16, Length: 16, Digest: sum, Status: result.RegionSame},
		{Name: "a", Source: "spi:1", Offset: 0, Length: 16, Digest: strings.Repeat("07", 32), Status: result.RegionReported, Excluded: []result.Span{{Offset: 1, Length: 2}}},
		{Name: "c", Source: "mtd:c", Length: 8, Status: result.RegionUnavailable, Reason: "no permission"},
		{Name: "d", Length: 8, Status: result.RegionMissing},
		{Name: "e", Source: "spi:1", Offset: 32, Length: 4, Digest: strings.Repeat("08", 32), Status: result.RegionUnknown},
	}}}
	e.Flash = &proto.Flash{Regions: []proto.FlashRegion{{
		Name: "a", Excluded: []proto.FlashRange{{Offset: 1, Length: 2}, {Offset: 8, Length: 1}}, Bad: []proto.FlashRange{{Offset: 12, Length: 4}},
	}}}
	b := reference.Baseline{Name: "golden", Tenant: "t", Vendor: "Acme", Model: "R7", Device: "d", Created: now, Flash: []reference.Region{
		{Name: "a", Source: "spi", Length: 16, Digest: make([]byte, 32), Excluded: []reference.Range{{Offset: 0, Length: 4, Reason: "MAC addresses"}}},
		{Name: "d", Source: "spi", Length: 8, Digest: make([]byte, 32)},
	}}
	denied := reference.DenyList{Advisory: "CVE-1", Issuer: "lab"}
	denied.Entries = append(denied.Entries, denial(6))
	got := Flash(e, basisOf(t, reference.Documents{Baselines: []reference.Baseline{b}, Denied: []reference.DenyList{denied}}))
	zeros := strings.Repeat("00", 32)
	want := v1.Flash{Result: 3, Age: 9, Chips: []v1.Chip{
		{Source: "mtd:c", Size: 8, Regions: []v1.ChipRange{{Name: "c", Length: 8, Standing: v1.Unreadable, Why: "no permission"}}},
		{Source: "spi:1", Size: 36, Regions: []v1.ChipRange{
			{
				Name: "a", Length: 16, Standing: v1.Changed, Digest: strings.Repeat("07", 32), Expected: zeros, Reference: "golden",
				Why:      "it differs, and the reference says only to report it",
				Excluded: []v1.ChipSpan{{Offset: 1, Length: 2, Why: "MAC addresses"}, {Offset: 8, Length: 1}, {Offset: 12, Length: 4, Why: "bad block"}},
			},
			{Name: "b", Offset: 16, Length: 16, Standing: v1.Denied, Digest: sum, Why: "denied by CVE-1 (lab)"},
			{Name: "e", Offset: 32, Length: 4, Standing: v1.Uncovered, Digest: strings.Repeat("08", 32)},
		}},
		{Size: 8, Regions: []v1.ChipRange{{
			Name: "d", Length: 8, Standing: v1.Missing, Expected: zeros, Reference: "golden", Why: "the device does not speak of it",
		}}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Flash() (-want +got):\n%s", diff)
	}
	for _, status := range []result.RegionStatus{
		result.RegionSame, result.RegionChanged, result.RegionReported, result.RegionUnknown, result.RegionUnavailable, result.RegionMissing,
	} {
		if standingOf[status] == "" {
			t.Errorf("status %s has no standing", status)
		}
	}
}

func at(minute int) time.Time { return now.Add(time.Duration(minute) * time.Minute) }

func told(seq int64, state result.State, boot string, findings ...result.Finding) Past {
	return Past{seq, &result.Result{At: at(int(seq)), State: state, BootID: boot, Bank: "sha256", Findings: findings, PCRs: map[string]string{"0": "aa"}}}
}

// TestRuns: results that say the same are one point, whatever is only noted; pages continue where they ended.
func TestRuns(t *testing.T) {
	bad := result.Finding{Code: "c", Severity: result.Critical, Component: "PCR 4", Meaning: "is unknown", Nearest: "r8/1"}
	noted := result.Finding{Code: "n", Severity: result.Info, Component: "PCR 1"}
	other := told(4, result.Untrusted, "b", bad)
	other.Result.PCRs = map[string]string{"0": strings.Repeat("b", 20)}
	list := []Past{
		told(7, result.Trusted, "b"), told(6, result.Trusted, "b", noted), told(5, result.Untrusted, "b", bad), other,
		told(3, result.Untrusted, "a", bad), told(2, result.Untrusted, "a", bad),
	}
	describe := func(points []v1.TimelinePoint) (out []string) {
		for _, p := range points {
			line := fmt.Sprintf("%d %s %s %d", int(p.At.Sub(now).Minutes()), p.Kind, p.State, p.Count)
			if p.Until != nil {
				line += fmt.Sprintf(" until %d", int(p.Until.Sub(now).Minutes()))
			}
			out = append(out, line)
		}
		return out
	}
	older := told(1, result.NeverAttested, "z")
	points, next := Timeline(list, &older, 100)
	want := []string{
		"6 result trusted 2 until 7",
		"5 result untrusted 1", "5 firmware  0",
		"4 result untrusted 1", "4 firmware  0", "4 reboot  0",
		"2 result untrusted 2 until 3", "2 reboot  0",
	}
	if diff := cmp.Diff(want, describe(points)); diff != "" || next != 0 {
		t.Errorf("Timeline() = next %d (-want +got):\n%s", next, diff)
	}
	if text := points[1].Text; text != "PCR 4: is unknown (known from r8/1)" {
		t.Errorf("text = %q", text)
	}
	if text := points[4].Text; !strings.Contains(text, "bbbbbbbbbbbbbbbb...") {
		t.Errorf("firmware = %q", text)
	}
	points, next = Timeline(list, nil, 1)
	if len(points) != 1 || next != 6 {
		t.Errorf("a page of one point = %d, next %d, want next 6, which the page ends with", len(points), next)
	}
}

// TestMerge: events come between points by their time; changes of state, which results tell, are left out.
func TestMerge(t *testing.T) {
	points := []v1.TimelinePoint{{At: at(6), Kind: "result"}, {At: at(3), Kind: "result"}}
	got := Merge(points, []v1.Event{
		{At: at(7), Kind: "approved", Detail: "may enrol", Actor: "alice"},
		{At: at(6), Kind: "state-changed"},
		{At: at(6), Kind: "same"},
		{At: at(5), Kind: "between"},
		{At: at(1), Kind: "first"},
	})
	var lines []string
	for _, p := range got {
		lines = append(lines, p.Kind+" "+p.Text)
	}
	want := []string{"event approved: may enrol", "result ", "event same", "event between", "result ", "event first"}
	if !slices.Equal(lines, want) {
		t.Errorf("Merge() = %q, want %q", lines, want)
	}
}

// TestQuoteClock: the clock of a TPMS_ATTEST; whatever is too short is an error and no panic.
func TestQuoteClock(t *testing.T) {
	quote := []byte{0xff, 'T', 'C', 'G', 0x80, 0x18, 0, 2, 1, 2, 0, 3, 1, 2, 3}
	quote = binary.BigEndian.AppendUint64(quote, 1<<40)
	if got, err := quoteClock(quote); err != nil || got != 1<<40 {
		t.Errorf("quoteClock() = %d, %v, want %d", got, err, uint64(1)<<40)
	}
	for n := range len(quote) {
		if got, err := quoteClock(quote[:n]); err == nil {
			t.Errorf("quoteClock() of %d bytes = %d", n, got)
		}
	}
}

// TestNatural: numbers in texts are compared as numbers.
func TestNatural(t *testing.T) {
	list := []string{"PCR 10", "PCR 2", "PCR 2, b", "PCR", "", "PCR 2, a10", "PCR 2, a9", "99999999999999999999"}
	slices.SortFunc(list, natural)
	want := []string{"", "99999999999999999999", "PCR", "PCR 2", "PCR 2, a9", "PCR 2, a10", "PCR 2, b", "PCR 10"}
	if !slices.Equal(list, want) {
		t.Errorf("sorted = %q, want %q", list, want)
	}
}

// TestDiffBounds: a device chooses how much differs; the list is bounded and says what it leaves out.
func TestDiffBounds(t *testing.T) {
	var list []ima.Measurement
	for n := range maxLines + 20 {
		list = append(list, measured(fmt.Sprintf("/bin/%d", n), byte(n)))
	}
	left, right := listed(t, list...), listed(t, measured("/bin/0", 0))
	got := Diff(left, right)
	if len(got.Parts) != 1 || got.Parts[0].Part != "files" || len(got.Parts[0].Lines) != maxLines || got.Parts[0].Left != 19 || got.Same == 0 {
		t.Errorf("Diff() = %d parts, %+v", len(got.Parts), got)
	}
	// Many measurements of one thing are compared one by one.
	many := map[string][]string{"x": {"1", "2", "3", "4", "5"}, "y": {"2", "1", "1"}}
	if diff := cmp.Diff(map[string]string{"x 1": "1", "x 2": "2", "x 3": "3", "x 4": "4", "x 5": "5", "y": "1 2"}, joined(many)); diff != "" {
		t.Errorf("joined() (-want +got):\n%s", diff)
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 ms", 84*time.Millisecond + 300*time.Microsecond: "84 ms", 1500 * time.Millisecond: "1 s", 35 * time.Second: "35 s",
		90 * time.Second: "1 min 30 s", time.Hour: "1 h", 49*time.Hour + 59*time.Minute: "2 days 1 h",
	} {
		if got := words(d); got != want {
			t.Errorf("words(%s) = %q, want %q", d, got, want)
		}
	}
}

// TestFreshnessWords: a device without TPM proves less, and a broken bank nothing.
func TestFreshnessWords(t *testing.T) {
	e := &Evidence{Result: &result.Result{At: now, IssuedAt: at(-1), StaleAt: at(9), FlashAge: 60}, Message: proto.Evidence{Signature: []byte{1}}}
	got, err := Freshness(e, []byte{2})
	if err != nil || !strings.Contains(strings.Join(got.Text, " "), "has no TPM") || got.Clock != 0 || !strings.Contains(strings.Join(got.Text, " "), "1 min older") {
		t.Errorf("Freshness() = %+v, %v", got, err)
	}
	e.Result.Bank = "sha1"
	if got, err = Freshness(e, nil); err != nil || !strings.Contains(strings.Join(got.Text, " "), "SHA1, which is broken") {
		t.Errorf("Freshness() in SHA-1 = %q, %v", got.Text, err)
	}
	e.Message.Quote = []byte{1}
	if _, err := Freshness(e, nil); err == nil {
		t.Error("Freshness() of a quote that is cut off succeeds")
	}
}
