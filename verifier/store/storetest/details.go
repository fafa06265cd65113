package storetest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func pasts(s *suite) {
	d := s.save(device("t", id("aa")))
	other := s.save(device("t", id("bb")))
	_, err := s.Result(s.ctx, "t", d.ID, 0)
	s.want("Result of a device that never attested", err, store.ErrNotFound)
	for n := 1; n <= 5; n++ {
		o := outcome(s.stored("t", d.ID), n)
		s.must("Record", s.Record(s.ctx, o, store.Event{At: o.Result.At, Device: d.ID, Detail: fmt.Sprint("event ", n)}))
	}
	all := s.results("t", d.ID)
	for i := range all {
		got, err := s.Result(s.ctx, "t", d.ID, all[i].Seq)
		s.must("Result", err)
		s.same("result", got, all[i])
	}
	newest, err := s.Result(s.ctx, "t", d.ID, 0)
	s.must("Result of 0", err)
	s.same("newest result", newest, all[0])
	_, err = s.Result(s.ctx, "t", other.ID, all[0].Seq)
	s.want("Result of another device", err, store.ErrNotFound)
	_, err = s.Result(s.ctx, "other", d.ID, all[0].Seq)
	s.want("Result of another tenant", err, store.ErrNotFound)

	page, err := s.ResultsOnly(s.ctx, "t", d.ID, all[1].Seq, 2)
	s.must("ResultsOnly", err)
	want := slices.Clone(all[2:4])
	for i := range want {
		want[i].EAR = ""
	}
	s.same("results without tokens", page, want)

	within := func(from, to time.Time, want ...string) {
		s.Helper()
		events, err := s.EventsWithin(s.ctx, "t", d.ID, from, to, 0)
		s.must("EventsWithin", err)
		var got []string
		for _, e := range events {
			got = append(got, e.Detail)
		}
		s.same("events", got, want)
	}
	at := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }
	within(at(2), at(4), "event 3", "event 2")
	within(time.Time{}, at(2), "event 1")
	within(at(4), time.Time{}, "event 5", "event 4")
	if none, err := s.EventsWithin(s.ctx, "other", d.ID, time.Time{}, time.Time{}, 0); err != nil || len(none) != 0 {
		s.Errorf("EventsWithin of another tenant = %v, %v", none, err)
	}
}

// found runs a search in pages of this size and tells what it finds, sorted.
func (s *suite) found(q store.SeenQuery, size int) []string {
	s.Helper()
	var out []string
	for after := ""; ; {
		page, err := s.FindSeen(s.ctx, "t", q, after, size)
		s.must("FindSeen", err)
		if len(page.Found) > size {
			s.Fatalf("a page of %d has %d", size, len(page.Found))
		}
		for _, o := range page.Found {
			until := "now"
			if !o.Until.IsZero() {
				until = fmt.Sprint(int(o.Until.Sub(epoch).Minutes()))
			}
			line := fmt.Sprintf("%s %s %s %d-%s", o.Device[:2], o.Kind, o.Place, int(o.First.Sub(epoch).Minutes()), until)
			if o.Others > 0 {
				line += fmt.Sprintf(" +%d", o.Others)
			}
			out = append(out, line)
		}
		if after = page.Next; after == "" {
			slices.Sort(out)
			return out
		}
	}
}

func searches(s *suite) {
	a, b := s.save(device("t", id("aa"))).ID, s.save(device("t", id("bb"))).ID
	foreign := s.save(device("u", id("cc")))
	guid := []byte(strings.Repeat("g", 16))
	log := seenOf("boot", "log 1", "grub", "Kernel")
	log.GUIDs = []store.SeenDigest{{Digest: guid, Place: "PCR 7, variable"}}
	s.sight(a, 1, "boot 1", log, seenOf("flash", "flash 1", "bios"))
	s.sight(b, 2, "boot 9", seenOf("boot", "log 1"))
	s.sight(a, 3, "boot 2", seenOf("boot", "log 2", "grub", "implant"))
	o := outcome(foreign, 1)
	o.Seen = []store.Seen{log}
	s.must("Record of another tenant", s.Record(s.ctx, o))

	digest := func(name string) []byte { return seenOf("", "x", name).Digests[0].Digest }
	place := func(name string) string { return seenOf("", "x", name).Digests[0].Place }
	for name, c := range map[string]struct {
		q            store.SeenQuery
		want         []string
		devices, now int
	}{
		"digest": {
			store.SeenQuery{Digests: [][]byte{digest("grub")}},
			[]string{"aa boot " + place("grub") + " 1-3", "aa boot " + place("grub") + " 3-now", "bb boot " + place("grub") + " 2-now"},
			2, 2,
		},
		"digest that is gone": {store.SeenQuery{Digests: [][]byte{digest("Kernel")}}, []string{
			"aa boot " + place("Kernel") + " 1-3", "bb boot " + place("Kernel") + " 2-now",
		}, 2, 1},
		"one of several digests": {store.SeenQuery{Digests: [][]byte{digest("nothing"), digest("implant"), digest("bios")}}, []string{
			"aa boot " + place("implant") + " 3-now", "aa flash " + place("bios") + " 1-now",
		}, 1, 1},
		"GUID":                  {store.SeenQuery{GUID: guid}, []string{"aa boot PCR 7, variable 1-3", "bb boot PCR 7, variable 2-now"}, 2, 1},
		"place in another case": {store.SeenQuery{Place: "OF kernel"}, []string{"aa boot " + place("Kernel") + " 1-3", "bb boot " + place("Kernel") + " 2-now"}, 2, 1},
		"nothing":               {store.SeenQuery{Place: "no such place"}, nil, 0, 0},
		"SQL and FTS":           {store.SeenQuery{Place: `" OR '*'--`}, nil, 0, 0},
	} {
		for _, size := range []int{1, 2, 100} {
			s.same(fmt.Sprintf("%s in pages of %d", name, size), s.found(c.q, size), c.want)
		}
		n, err := s.CountSeen(s.ctx, "t", c.q)
		s.must("CountSeen", err)
		s.same("count of "+name, n, store.SeenCount{Devices: c.devices, Now: c.now})
	}
	if got := s.found(store.SeenQuery{Place: "place of"}, 100); len(got) != 4 || !strings.HasSuffix(got[0], "+1") {
		s.Errorf("a part that several places have: %q, want one line for each content", got)
	}
	for name, q := range map[string]store.SeenQuery{
		"nothing": {}, "two things": {GUID: guid, Place: "place"}, "a short place": {Place: "ab"}, "a short GUID": {GUID: guid[:15]},
		"NUL": {Place: "a\x00bc"}, "too many digests": {Digests: make([][]byte, store.MaxSeenDigests+1)},
	} {
		_, err := s.FindSeen(s.ctx, "t", q, "", 10)
		s.want("FindSeen of "+name, err, store.ErrInvalid)
		_, err = s.CountSeen(s.ctx, "t", q)
		s.want("CountSeen of "+name, err, store.ErrInvalid)
	}
	for _, after := range []string{"x", "1", "1.-1", "-1.1", "1.1.1", "1;DROP"} {
		_, err := s.FindSeen(s.ctx, "t", store.SeenQuery{Place: "place"}, after, 10)
		s.want("FindSeen after "+after, err, store.ErrInvalid)
	}
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", b))
	s.same("after a removal", s.found(store.SeenQuery{GUID: guid}, 10), []string{"aa boot PCR 7, variable 1-3"})
}

// searchedFiles: names and digests in lists of files that are nearly alike.
func searchedFiles(s *suite) {
	var all []string
	for n := range 200 {
		all = append(all, fmt.Sprintf("file %03d.", n))
	}
	a, b, c := s.save(device("t", id("aa"))).ID, s.save(device("t", id("bb"))).ID, s.save(device("t", id("cc"))).ID
	s.sight(a, 1, "boot 1", seenOf("files", "a", all...))
	s.sight(b, 1, "boot 1", seenOf("files", "b", append(slices.Clone(all[5:]), "implant")...))
	s.sight(c, 1, "boot 1", seenOf("files", "c", append(slices.Clone(all[150:]), "other")...))
	for part, want := range map[string]string{
		"file 000.": "aa", "file 004.": "aa", "file 005.": "aa bb", "file 199.": "aa bb cc", "implant": "bb", "other": "cc",
	} {
		var got []string
		for _, line := range s.found(store.SeenQuery{Place: part}, 10) {
			got = append(got, line[:2])
		}
		s.same("devices with "+part, strings.Join(got, " "), want)
	}
	page, err := s.FindSeen(s.ctx, "t", store.SeenQuery{Place: "place of"}, "", 10)
	s.must("FindSeen", err)
	if len(page.Found) != 3 || !page.Partial {
		s.Errorf("FindSeen of what all files have = %d, partial %t, want three devices, and that not all was looked at", len(page.Found), page.Partial)
	}
}

func coverage(s *suite) {
	relying := func(name string, want map[result.State]int) {
		s.Helper()
		got, err := s.Relying(s.ctx, "t", name)
		s.must("Relying", err)
		s.same("devices that rely on "+name, got, want)
	}
	models := func(want ...store.ModelCount) {
		s.Helper()
		got, err := s.ModelCounts(s.ctx, "t")
		s.must("ModelCounts", err)
		s.same("models", got, want)
	}
	models()
	a, b := s.save(fullDevice("t", id("aa"))), s.save(device("t", id("bb")))
	s.save(fullDevice("u", id("cc")))
	models(store.ModelCount{Devices: 1}, store.ModelCount{Vendor: "Acme", Model: "R7", Devices: 1})
	o := outcome(a, 1)
	o.Device.Silenced, o.Result.References = false, []string{"r7/1", "flash/1", "r7/1"}
	s.must("Record", s.Record(s.ctx, o))
	o = outcome(b, 1)
	o.Device.Vendor, o.Device.Model, o.Result.References = "Acme", "R7", []string{"r7/1"}
	s.must("Record", s.Record(s.ctx, o))
	models(store.ModelCount{Vendor: "Acme", Model: "R7", Devices: 2})
	relying("r7/1", map[result.State]int{result.Untrusted: 2})
	relying("flash/1", map[result.State]int{result.Untrusted: 1})

	silent := s.stored("t", a.ID)
	silent.Silenced = true
	s.save(silent)
	relying("r7/1", map[result.State]int{result.Untrusted: 1, result.Stale: 1})
	o = outcome(s.stored("t", a.ID), 2)
	o.Device.Silenced, o.Device.State, o.Result.State, o.Result.References = false, result.Trusted, result.Trusted, []string{"r7/2"}
	s.must("Record", s.Record(s.ctx, o))
	relying("r7/1", map[result.State]int{result.Untrusted: 1})
	relying("r7/2", map[result.State]int{result.Trusted: 1})
	relying("flash/1", nil)
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", b.ID))
	relying("r7/1", nil)
	models(store.ModelCount{Vendor: "Acme", Model: "R7", Devices: 1})
	o = outcome(s.stored("t", a.ID), 3)
	o.Result.References = nil
	s.must("Record", s.Record(s.ctx, o))
	relying("r7/2", nil)
	if got, err := s.Relying(s.ctx, "u", "r7/1"); err != nil || len(got) != 0 {
		s.Errorf("Relying of another tenant = %v, %v", got, err)
	}
}

func approvals(s *suite) {
	m := manifestOf("t", "Acme", "r7/2", "k1")
	overlap := 90 * time.Minute
	m.Needs, m.Overlap = 2, &overlap
	old := manifestOf("t", "Acme", "r7/1", "k1")
	s.must("AddManifest", s.AddManifest(s.ctx, old, []byte("old"), nil))
	s.must("AddManifest", s.AddManifest(s.ctx, m, []byte("new"), nil))
	for name, change := range map[string]func(*store.Manifest){
		"approved from the start": func(m *store.Manifest) { m.Approved = 1 },
		"a negative need":         func(m *store.Manifest) { m.Needs = -1 },
	} {
		bad := manifestOf("t", "Acme", "r7/9", "k1")
		change(&bad)
		s.want("AddManifest with "+name, s.AddManifest(s.ctx, bad, nil, nil), store.ErrInvalid)
	}
	stored := func() store.Manifest {
		s.Helper()
		all, err := s.Manifests(s.ctx, "t")
		s.must("Manifests", err)
		return all[1]
	}
	s.same("manifest that awaits", stored(), m)
	at := epoch.Add(time.Hour)
	changes := []store.ManifestChange{{Digest: old.Digest, SupersededBy: "r7/2"}}
	approve := func(actor string) error {
		return s.Approve(s.ctx, "t", m.Digest, store.Approval{Actor: actor, At: at, Note: "fine"}, changes,
			[]store.Event{{Detail: "activated"}}, store.Event{Detail: "approved by " + actor})
	}
	s.want("Approve by nobody", approve(""), store.ErrInvalid)
	s.want("Approve of nothing", s.Approve(s.ctx, "t", "none", store.Approval{Actor: "carol", At: at}, nil, nil), store.ErrNotFound)
	s.want("Approve of another tenant", s.Approve(s.ctx, "u", m.Digest, store.Approval{Actor: "carol", At: at}, nil, nil), store.ErrNotFound)
	s.want("Approve of what awaits none", s.Approve(s.ctx, "t", old.Digest, store.Approval{Actor: "carol", At: at}, nil, nil), store.ErrConflict)
	s.must("Approve", approve("carol"))
	s.want("Approve twice", approve("carol"), store.ErrConflict)
	m.Approved = 1
	s.same("manifest that awaits one", stored(), m)
	if got := stored(); !got.Awaits() || got.Counts(at.Add(time.Hour)) || got.State(at) != store.ManifestSubmitted {
		s.Errorf("manifest that awaits one counts: %+v", got)
	}

	// Of many at once, one completes it.
	var done atomic.Int32
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			if approve(fmt.Sprint("person ", n)) == nil {
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if n := done.Load(); n != 1 {
		s.Errorf("%d approvals were accepted where one was awaited", n)
	}
	m.Approved, m.From = 2, at
	s.same("manifest that counts", stored(), m)
	all, err := s.Manifests(s.ctx, "t")
	s.must("Manifests", err)
	if all[0].SupersededBy != "r7/2" {
		s.Errorf("the older one = %+v, want it superseded", all[0])
	}
	list, err := s.Approvals(s.ctx, "t", m.Digest)
	s.must("Approvals", err)
	s.same("first approval", list[0], store.Approval{Actor: "carol", At: at, Note: "fine"})
	if events := s.details("t", ""); len(list) != 2 || len(events) != 3 || events[0] != "activated" {
		s.Errorf("approvals %+v, events %q", list, events)
	}
	s.Reopen()
	s.same("after a restart", stored(), m)
}

func backlog(s *suite) {
	left, err := s.Unseen(s.ctx, 10)
	if err != nil || len(left) != 0 {
		s.Errorf("Unseen of an empty store = %v, %v", left, err)
	}
	d := s.save(device("t", id("aa")))
	s.sight(d.ID, 5, "boot 2", seenOf("boot", "log 2", "grub"))
	past := []store.PastSeen{
		{Seen: seenOf("boot", "log 1", "lilo"), Boot: "boot 1", First: epoch.Add(time.Minute), Until: epoch.Add(3 * time.Minute)},
		{Seen: seenOf("boot", "log 2", "grub"), Boot: "boot 2", First: epoch.Add(3 * time.Minute), Until: epoch.Add(4 * time.Minute)},
	}
	s.want("SeePast of an older device", s.SeePast(s.ctx, d, past, nil), store.ErrConflict)
	s.want("SeePast of no device", s.SeePast(s.ctx, device("t", id("bb")), past, nil), store.ErrNotFound)
	s.must("SeePast", s.SeePast(s.ctx, s.stored("t", d.ID), past, []string{"r7/1"}))
	s.same("what was there before", s.sighted("lilo"), []string{"aa boot place of lilo 1-3"})
	s.same("what is still there", s.sighted("grub"), []string{"aa boot place of grub 3-now"})
	states, err := s.Relying(s.ctx, "t", "r7/1")
	s.must("Relying", err)
	s.same("relying", states, map[result.State]int{result.Untrusted: 1})

	guid := []byte(strings.Repeat("g", 16))
	content := seenOf("boot", "log 1").Content
	s.must("IndexGUIDs", s.IndexGUIDs(s.ctx, content, []store.SeenDigest{{Digest: guid, Place: "PCR 7"}}))
	s.must("IndexGUIDs again", s.IndexGUIDs(s.ctx, content, []store.SeenDigest{{Digest: guid, Place: "PCR 7"}}))
	s.same("by GUID", s.found(store.SeenQuery{GUID: guid}, 10), []string{"aa boot PCR 7 1-3"})
	s.want("IndexGUIDs of nothing", s.IndexGUIDs(s.ctx, sha256.Sum256(nil), nil), store.ErrNotFound)
}
