package fleet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/proto"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// pcrOf returns one PCR of an explained boot.
func pcrOf(t testing.TB, b v1.Boot, i int) v1.BootPCR {
	t.Helper()
	for _, p := range b.PCRs {
		if p.Index == i {
			return p
		}
	}
	t.Fatalf("PCR %d is not told, only %d PCRs", i, len(b.PCRs))
	return v1.BootPCR{}
}

// standings counts the events of a PCR.
func standings(p v1.BootPCR) map[v1.Standing]int {
	out := make(map[v1.Standing]int)
	for _, e := range p.Events {
		out[e.Standing]++
	}
	return out
}

// TestBootExplained: a healthy boot matches event by event; one with another boot loader differs in that event, which is
// named with what was expected and where it is known from.
func TestBootExplained(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	old, next := r.healthy(), r.next()
	old.attest(result.Unsupported)
	bare, err := r.Boot(t.Context(), tenant, old.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if p := pcrOf(t, bare, 4); p.Standing != v1.Uncovered || !p.Replayed || standings(p)[v1.Uncovered] == 0 || standings(p)[v1.Explained] != 1 {
		t.Errorf("PCR 4 without reference values = %+v, want events that nothing covers, and the separator explained", p)
	}
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	old.attest(result.Trusted)
	next.attest(result.Untrusted)

	b, err := r.Boot(t.Context(), tenant, old.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if b.Bank != "sha256" || b.NoLog != "" || b.Log == "" || !slices.Equal(b.References, []string{"acme/r7/2.4.1"}) {
		t.Errorf("boot = %s %q %q, references %q", b.Bank, b.NoLog, b.Log, b.References)
	}
	if p := pcrOf(t, b, 4); p.Standing != v1.Matched || p.Name != "boot loader" || !p.Replayed || standings(p)[v1.Matched] != len(p.Events) {
		t.Errorf("PCR 4 = %+v, want all events matched", p)
	}
	if p := pcrOf(t, b, 10); p.Standing != v1.Explained || !p.Replayed || len(p.Events) != 0 {
		t.Errorf("PCR 10 = %+v, want it explained by the IMA list", p)
	}
	for _, p := range b.PCRs {
		if p.Standing == v1.Unknown || p.Standing == v1.Missing {
			t.Errorf("PCR %d of a trusted device is %s", p.Index, p.Standing)
		}
	}

	b, err = r.Boot(t.Context(), tenant, next.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := pcrOf(t, b, 4)
	if p.Standing != v1.Unknown || standings(p)[v1.Unknown] != 1 || standings(p)[v1.Missing] != 0 {
		t.Fatalf("PCR 4 of another boot loader = %+v, want one unknown event", standings(p))
	}
	digest := hex.EncodeToString(bootDigest(t, updated(t), fixture(t, "eventlogs", "grub-secure-boot")))
	for _, e := range p.Events {
		if e.Standing == v1.Unknown && (e.Digest != digest || e.Expected == "" || e.Expected == digest || e.Number == 0 || e.Text == "") {
			t.Errorf("event = %+v, want the boot loader %s with what was expected", e, digest)
		}
	}
	// Somebody else knows it: it is named.
	m := r.newRelease()
	m.Model, m.ID, m.Supersedes = "R8", "acme/r8/1", nil
	r.mustSubmit(acme.sign(t, m))
	if b, err = r.Boot(t.Context(), tenant, next.ID, 0); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(pcrOf(t, b, 4).Events, func(e v1.BootEvent) bool { return e.Standing == v1.Unknown })
	if i < 0 || pcrOf(t, b, 4).Events[i].Reference != "acme/r8/1" {
		t.Errorf("events = %+v, want the unknown one known from acme/r8/1", pcrOf(t, b, 4).Events)
	}
	// What is denied is so, whatever the reference values say of it.
	if _, err := r.Deny(t.Context(), tenant, DenialSpec{Digest: digest, Advisory: "CVE-2026-1"}, "alice"); err != nil {
		t.Fatal(err)
	}
	if b, err = r.Boot(t.Context(), tenant, next.ID, 0); err != nil {
		t.Fatal(err)
	}
	if p := pcrOf(t, b, 4); p.Standing != v1.Denied || standings(p)[v1.Denied] != 1 {
		t.Errorf("PCR 4 with a denied boot loader is %s, events %v", p.Standing, standings(p))
	}
}

// TestBootLies: a log that is not that of the quoted PCRs explains nothing of those that differ, and proves nothing.
func TestBootLies(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	d.BootLog = updated(t)
	d.attest(result.Untrusted)
	b, err := r.Boot(t.Context(), tenant, d.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The PCR itself is as the baseline has it: only the log lies.
	p := pcrOf(t, b, 4)
	if p.Replayed {
		t.Errorf("PCR 4 counts as replayed from a log that does not lead to it")
	}
	for _, e := range p.Events {
		if e.Proven {
			t.Errorf("event %+v counts as proven", e)
		}
	}
	if p := pcrOf(t, b, 7); !p.Replayed {
		t.Error("PCR 7 is not replayed, though the log leads to it")
	}
	d.BootLog = []byte("no log")
	d.attest(result.Warning)
	if b, err = r.Boot(t.Context(), tenant, d.ID, 0); err != nil || !strings.Contains(b.NoLog, "cannot be read") {
		t.Errorf("Boot() with a malformed log = %q, %v", b.NoLog, err)
	}
	if p := pcrOf(t, b, 4); p.Standing != v1.Matched || p.Replayed {
		t.Errorf("PCR 4 = %+v, want its value matched and not replayed", p)
	}
	if _, err := r.Boot(t.Context(), tenant, d.ID, 999); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Boot() of a result that there is not: %v", err)
	}
	if _, err := r.Boot(t.Context(), "other", d.ID, 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Boot() for another tenant: %v", err)
	}
}

// TestFilesExplained: the list is grouped by file, unknown files first; pages and standings select.
func TestFilesExplained(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	d := r.healthy()
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	d.attest(result.Trusted)
	d.runs("/opt/tool \x1b[31m")
	d.attest(result.Warning)
	all, err := r.Files(t.Context(), tenant, d.ID, 0, "", "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Files) < 10 || all.Next != "" || all.Counts["unknown"] != 1 || all.Counts["matched"] < 8 {
		t.Fatalf("files = %d, counts %v", len(all.Files), all.Counts)
	}
	first := all.Files[0]
	if first.Standing != v1.Unknown || !strings.HasPrefix(first.Path, "/opt/tool") || strings.Contains(first.Path, "\x1b") ||
		first.Entries != 1 || len(first.Digests) != 1 || !strings.HasPrefix(first.Digests[0], "sha256:") {
		t.Errorf("first file = %+v, want the unknown one, escaped", first)
	}
	if n := slices.IndexFunc(all.Files, func(f v1.File) bool { return f.Path == "boot_aggregate" }); n < 0 || all.Files[n].Standing != v1.Explained {
		t.Errorf("boot_aggregate is at %d, want it explained", n)
	}
	var paged []v1.File
	for after := ""; ; {
		page, err := r.Files(t.Context(), tenant, d.ID, 0, "", after, 7)
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, page.Files...)
		if after = page.Next; after == "" {
			break
		}
	}
	if diff := cmp.Diff(all.Files, paged); diff != "" {
		t.Errorf("pages differ from the whole (-want +got):\n%s", diff)
	}
	only, err := r.Files(t.Context(), tenant, d.ID, 0, v1.Unknown, "", 100)
	if err != nil || len(only.Files) != 1 || only.Counts["matched"] != all.Counts["matched"] {
		t.Errorf("unknown files = %+v, %v", only.Files, err)
	}
	_, err = r.Files(t.Context(), tenant, d.ID, 0, "", "x", 100)
	refusedBecause(t, "another cursor", err, "want the value of next")
	// The result before did not have it.
	before := d.results()[1].Seq
	if old, err := r.Files(t.Context(), tenant, d.ID, before, v1.Unknown, "", 100); err != nil || len(old.Files) != 0 {
		t.Errorf("unknown files of the result before = %+v, %v", old.Files, err)
	}
	// What a device cannot show is said.
	bare := r.next()
	bare.IMA = nil
	bare.attest(result.Untrusted)
	if none, err := r.Files(t.Context(), tenant, bare.ID, 0, "", "", 100); err != nil || none.NoList == "" || len(none.Files) != 0 {
		t.Errorf("files without a list = %+v, %v", none, err)
	}
}

// TestFlashMap: good, changed, excluded and unreadable ranges, by chip.
func TestFlashMap(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	sum := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	d.Flash = &proto.Flash{Regions: []proto.FlashRegion{
		{Name: "bios", Source: "spi:0.0", Offset: 0x1000, Length: 0x2000, Digest: sum(1), Excluded: []proto.FlashRange{{Offset: 0x10, Length: 0x20}}},
		{Name: "desc", Source: "spi:0.0", Length: 0x1000, Digest: sum(2)},
		{Name: "me", Source: "spi:0.0", Offset: 0x3000, Length: 0x1000, Unavailable: &proto.Unavailable{Cause: "permission", Reason: "locked by the chipset"}},
	}}
	d.attest(result.Unsupported)
	d.baseline("golden")
	d.attest(result.Trusted) // nothing weighs against a region that never could be read
	m, err := r.Flash(t.Context(), tenant, d.ID, 0)
	if err != nil || len(m.Chips) != 1 {
		t.Fatalf("Flash() = %+v, %v", m, err)
	}
	chip := m.Chips[0]
	if chip.Source != "spi:0.0" || chip.Size != 0x4000 || len(chip.Regions) != 3 {
		t.Fatalf("chip = %+v", chip)
	}
	for i, want := range []struct {
		name     string
		standing v1.Standing
	}{{"desc", v1.Matched}, {"bios", v1.Matched}, {"me", v1.Unreadable}} {
		if got := chip.Regions[i]; got.Name != want.name || got.Standing != want.standing {
			t.Errorf("region %d = %+v, want %+v", i, got, want)
		}
	}
	if x := chip.Regions[1].Excluded; len(x) != 1 || x[0].Offset != 0x10 || x[0].Length != 0x20 || x[0].Why == "" {
		t.Errorf("excluded = %+v, want the range and why", x)
	}
	if !strings.Contains(chip.Regions[2].Why, "locked by the chipset") {
		t.Errorf("why = %q", chip.Regions[2].Why)
	}
	d.Flash.Regions[0].Digest = sum(9)
	d.Flash.Regions = d.Flash.Regions[:1]
	d.attest(result.Untrusted)
	if m, err = r.Flash(t.Context(), tenant, d.ID, 0); err != nil || len(m.Chips) != 2 {
		t.Fatalf("Flash() = %+v, %v, want the chip and what is missing", m, err)
	}
	changed := m.Chips[0].Regions[0]
	if changed.Standing != v1.Changed || changed.Expected != hex.EncodeToString(sum(1)) || changed.Reference != "golden" {
		t.Errorf("changed region = %+v", changed)
	}
	if gone := m.Chips[1]; gone.Source != "" || gone.Regions[0].Name != "desc" || gone.Regions[0].Standing != v1.Missing {
		t.Errorf("missing = %+v", gone)
	}
	none := r.healthy()
	none.attest(result.Warning)
	if m, err := r.Flash(t.Context(), tenant, none.ID, 0); err != nil || m.None == "" || len(m.Chips) != 0 {
		t.Errorf("Flash() without flash = %+v, %v", m, err)
	}
}

// TestFreshness: the quote, its clock and counters, and the nonce's time are there, and told in words.
func TestFreshness(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	d.Clock, d.Resets, d.Restarts = 3_600_000, 7, 2
	d.attest(result.Unsupported)
	got, err := r.Freshness(t.Context(), tenant, d.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	newest := d.results()[0]
	if got.Result != newest.Seq || got.Clock < d.Clock || got.Clock > d.Clock+60_000 || got.Resets != 7 || got.Restarts != 2 || !got.Nonce.Equal(newest.Result.IssuedAt) ||
		len(got.Quote) == 0 || len(got.Sig) == 0 || !bytes.Equal(got.AK, d.AK) || got.Evidence != newest.Result.Evidence {
		t.Errorf("freshness = %+v", got)
	}
	if text := strings.Join(got.Text, "\n"); !strings.Contains(text, "powered for 1 h") || !strings.Contains(text, "reset 7 times") {
		t.Errorf("text = %s", text)
	}
}

// reboot lets the kernel begin a new list, without boot_aggregate, which would be of the boot before.
func (d *device) reboot() {
	d.r.Helper()
	list := fixture(d.r, "ima", "grub-secure-boot")
	d.IMA = list[split(d.r.T, list, 1):]
	if err := d.Bank.Set(10, make([]byte, 32)); err != nil {
		d.r.Fatal(err)
	}
	if err := d.Measure(d.IMA); err != nil {
		d.r.Fatal(err)
	}
	d.BootID[0]++
	d.Resets++
}

// TestTimeline: runs of results, reboots, changes of firmware and events, in pages that miss nothing.
func TestTimeline(t *testing.T) {
	r := newRig(t)
	acme := r.vendor()
	d := r.healthy()
	d.attest(result.Unsupported)
	r.mustSubmit(acme.sign(t, r.oldRelease()))
	for range 5 {
		d.attest(result.Trusted)
	}
	m := r.newRelease()
	m.Supersedes = nil
	r.mustSubmit(acme.sign(t, m))
	if err := d.Boot(updated(t)); err != nil {
		t.Fatal(err)
	}
	d.BootLog = updated(t)
	d.reboot()
	r.clock.advance(time.Minute)
	if err := r.store.AddEvent(t.Context(), store.Event{
		At: r.clock.Now(), Tenant: tenant, Device: d.ID, Kind: "approved", Actor: "alice", Detail: "may enrol",
	}); err != nil {
		t.Fatal(err)
	}
	d.attest(result.Trusted)
	d.attest(result.Trusted)

	whole, err := r.Timeline(t.Context(), tenant, d.ID, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	type point struct {
		Kind  string
		State result.State
		Count int
	}
	var got []point
	for i, p := range whole.Points {
		got = append(got, point{p.Kind, p.State, p.Count})
		if i > 0 && p.At.After(whole.Points[i-1].At) {
			t.Errorf("point %d is later than the one before it", i)
		}
	}
	want := []point{
		{"result", result.Trusted, 2},
		{"firmware", "", 0},
		{"reboot", "", 0},
		{"event", "", 0},
		{"result", result.Trusted, 5},
		{"result", result.Unsupported, 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	if len(whole.Points) > 1 && !strings.Contains(whole.Points[1].Text, "acme/r7/2.5.0") {
		t.Errorf("firmware = %q, want the release named", whole.Points[1].Text)
	}
	var paged []v1.TimelinePoint
	for before := int64(0); ; {
		page, err := r.Timeline(t.Context(), tenant, d.ID, before, 1)
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, page.Points...)
		if before = page.Next; before == 0 {
			break
		}
	}
	if diff := cmp.Diff(whole.Points, paged); diff != "" {
		t.Errorf("pages differ from the whole (-want +got):\n%s", diff)
	}
}

// TestCompare: what two devices, or one at two times, do not have in common.
func TestCompare(t *testing.T) {
	r := newRig(t)
	old, next := r.healthy(), r.next()
	old.attest(result.Unsupported)
	next.Platform.Kernel = "6.12 \u202e"
	next.attest(result.Unsupported)
	d, err := r.Compare(t.Context(), tenant, old.ID, 0, next.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d.Left.Device != old.ID || d.Right.Device != next.ID || d.Same == 0 {
		t.Errorf("diff = %+v, %+v, %d same", d.Left, d.Right, d.Same)
	}
	lines := make(map[string][]v1.DiffLine)
	for _, p := range d.Parts {
		lines[p.Part] = p.Lines
	}
	if got := lines["pcrs"]; len(got) != 1 || !strings.HasPrefix(got[0].What, "PCR 4") || got[0].Left == got[0].Right {
		t.Errorf("PCRs that differ = %+v, want PCR 4 alone", got)
	}
	if got := lines["boot"]; len(got) != 1 || !strings.HasPrefix(got[0].What, "PCR 4, ") {
		t.Errorf("events that differ = %+v, want the boot loader", got)
	}
	if got := lines["platform"]; len(got) != 1 || got[0].What != "kernel" || strings.Contains(got[0].Right, "\u202e") {
		t.Errorf("platform = %+v, want the kernel, escaped", got)
	}
	if len(lines["files"]) != 0 {
		t.Errorf("files = %+v, want none", lines["files"])
	}
	old.runs("/opt/tool")
	old.attest(result.Unsupported)
	seq := old.results()
	d, err = r.Compare(t.Context(), tenant, old.ID, seq[1].Seq, old.ID, 0)
	if err != nil || len(d.Parts) != 1 || d.Parts[0].Part != "files" || len(d.Parts[0].Lines) != 1 || d.Parts[0].Lines[0].What != "/opt/tool" {
		t.Errorf("diff with an earlier time = %+v, %v", d.Parts, err)
	}
	_, err = r.Compare(t.Context(), tenant, old.ID, 0, old.ID, seq[0].Seq)
	refusedBecause(t, "the same result twice", err, "one and the same")
}

// TestRawContent: the boot log and the IMA list come back as they were sent.
func TestRawContent(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	d.attest(result.Unsupported)
	d.runs("/opt/tool")
	d.attest(result.Unsupported)
	log, err := r.BootLog(t.Context(), tenant, d.ID, 0)
	if err != nil || !bytes.Equal(log, d.Device.BootLog) {
		t.Errorf("BootLog() = %d bytes, %v, want the %d that were sent", len(log), err, len(d.Device.BootLog))
	}
	list, err := r.IMAList(t.Context(), tenant, d.ID, 0)
	if err != nil || !bytes.Equal(list, d.IMA) {
		t.Errorf("IMAList() = %d bytes, %v, want the %d of both parts", len(list), err, len(d.IMA))
	}
	never := r.healthy()
	if _, err := r.BootLog(t.Context(), tenant, never.ID, 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("BootLog() of a device that never attested: %v", err)
	}
}
