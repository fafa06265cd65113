package reference_test

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/reference"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func version(v string, svn uint64) *manifest.Manifest {
	return &manifest.Manifest{
		ID: "acme/r7/" + v, Vendor: "Acme", Model: "R7", Version: v, SVN: svn,
		PCRs: []manifest.PCR{{Index: 0, Events: []manifest.Event{{
			Slot: "EV_S_CRTM_VERSION", Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: contentOf(len(v))}}, Required: true,
		}}}},
	}
}

func set(t testing.TB, d reference.Documents) *reference.Set {
	t.Helper()
	s, err := reference.Build(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func names(list []*reference.Compiled) []string {
	out := []string{}
	for _, c := range list {
		out = append(out, c.Name)
	}
	return out
}

// TestView: which documents count at which moment, and that the id says so.
func TestView(t *testing.T) {
	old, fresh, later := version("2.4", 3), version("2.5", 4), version("2.6", 5)
	fresh.MinSVN, later.MinSVN = 4, 5
	later.NotBefore, later.NotAfter = start.Add(2*time.Hour), start.Add(3*time.Hour)
	d := reference.Documents{
		Baselines: []reference.Baseline{sample("a-baseline")},
		Releases: []reference.Release{
			{Manifest: old}, {Manifest: fresh, From: start.Add(time.Hour)}, {Manifest: later, Until: start.Add(150 * time.Minute)},
		},
		Past: []reference.Release{{Manifest: version("2.0", 1), State: "withdrawn"}},
	}
	m := set(t, d).For("acme", " r7")
	type seen struct {
		Good, Others []string
		MinSVN       uint64
	}
	base := "a-baseline"
	want := []seen{
		{[]string{base, old.ID}, []string{fresh.ID, later.ID}, 0},
		{[]string{base, fresh.ID}, []string{"acme/r7/2.0", old.ID, later.ID}, 4},
		{[]string{base, later.ID}, []string{"acme/r7/2.0", old.ID, fresh.ID}, 5},
		{[]string{base}, []string{"acme/r7/2.0", old.ID, fresh.ID, later.ID}, 5}, // its end takes nothing back
	}
	ids := map[string]bool{}
	for i, at := range []time.Duration{0, time.Hour, 2 * time.Hour, 150 * time.Minute} {
		v := m.At(start.Add(at))
		svn, _ := v.MinSVN()
		if diff := cmp.Diff(want[i], seen{names(v.Alternatives()), names(v.Others()), svn}); diff != "" {
			t.Errorf("after %s: %s", at, diff)
		}
		if ids[v.ID()] {
			t.Errorf("after %s: id %q stands for another view too", at, v.ID())
		}
		ids[v.ID()] = true
		if again := m.At(start.Add(at + 29*time.Minute)); again != v || again.ID() != v.ID() {
			t.Errorf("after %s: another view half an hour later, although nothing changed", at)
		}
	}
	if v := m.At(start.Add(-time.Hour)); v.ID() != m.At(start).ID() {
		t.Errorf("ids %q and %q of times between which nothing changed", v.ID(), m.At(start).ID())
	}
	for c, want := range map[string]reference.Standing{
		base: reference.InForce, "acme/r7/2.0": reference.Rollback, old.ID: reference.Rollback, fresh.ID: reference.Rollback, later.ID: reference.InForce,
	} {
		v := m.At(start.Add(2 * time.Hour))
		for _, have := range append(v.Alternatives(), v.Others()...) {
			if have.Name == c && v.Standing(have) != want {
				t.Errorf("standing of %s = %v, want %v", c, v.Standing(have), want)
			}
		}
	}
	var none *reference.Model
	if v := none.At(start); v.ID() != "" || v.Alternatives() != nil || v.Others() != nil || v.HasDenied() {
		t.Error("a model of which nothing is known has something")
	}
	if n, by := none.At(start).MinSVN(); n != 0 || by != "" {
		t.Errorf("MinSVN of nothing = %d by %q", n, by)
	}
}

// TestModelID: every word of what a verifier makes of a document is in the model's id.
func TestModelID(t *testing.T) {
	id := func(change func(d *reference.Documents)) string {
		d := reference.Documents{Releases: []reference.Release{{
			Manifest: version("2.4", 3), Endorsers: []reference.Endorser{{Issuer: "Acme", Role: reference.RoleVendor, KeyID: "1"}},
		}}}
		change(&d)
		return set(t, d).For("Acme", "R7").ID()
	}
	seen := map[string]string{}
	for name, change := range map[string]func(d *reference.Documents){
		"as it is":  func(*reference.Documents) {},
		"content":   func(d *reference.Documents) { d.Releases[0].Manifest.PCRs[0].Note = "x" },
		"beginning": func(d *reference.Documents) { d.Releases[0].From = start },
		"end":       func(d *reference.Documents) { d.Releases[0].Until = start },
		"state":     func(d *reference.Documents) { d.Releases[0].State = "superseded" },
		"past":      func(d *reference.Documents) { d.Past, d.Releases = d.Releases, nil },
		"issuer":    func(d *reference.Documents) { d.Releases[0].Endorsers[0].Issuer = "Other" },
		"role":      func(d *reference.Documents) { d.Releases[0].Endorsers[0].Role = reference.RoleLab },
		"key":       func(d *reference.Documents) { d.Releases[0].Endorsers[0].KeyID = "2" },
		"another": func(d *reference.Documents) {
			d.Releases = append(d.Releases, reference.Release{Manifest: version("2.5", 3)})
		},
		"deny-list": func(d *reference.Documents) { d.Denied = []reference.DenyList{denied("x", "", "")} },
		"advisory":  func(d *reference.Documents) { d.Denied = []reference.DenyList{denied("y", "", "")} },
		"denied component": func(d *reference.Documents) {
			d.Denied = []reference.DenyList{denied("x", "", "")}
			d.Denied[0].Entries[0].Component++
		},
		"denied note": func(d *reference.Documents) {
			d.Denied = []reference.DenyList{denied("x", "", "")}
			d.Denied[0].Entries[0].Note = "y"
		},
	} {
		got := id(change)
		if other, twice := seen[got]; twice {
			t.Errorf("%s and %s have the same id", name, other)
		}
		seen[got] = name
	}
	if got := id(func(d *reference.Documents) { d.Denied = []reference.DenyList{denied("x", "Other", "")} }); seen[got] != "as it is" {
		t.Errorf("a deny-list for another vendor's models changes the id, to that of %q", seen[got])
	}
}

func denied(advisory, vendor, model string) reference.DenyList {
	return reference.DenyList{Advisory: advisory, Issuer: "CERT", Vendor: vendor, Model: model, Entries: []manifest.Denial{
		{Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: contentOf(7)}}, Note: "bad"},
	}}
}

// TestDeny: whom a deny-list concerns, known models and others.
func TestDeny(t *testing.T) {
	for _, tt := range []struct {
		vendor, model string // of the list
		concerns      []string
	}{
		{"", "", []string{"Acme R7", "Acme R8", "Other R7"}},
		{"ACME ", "", []string{"Acme R7", "Acme R8"}},
		{"Acme", "r7", []string{"Acme R7"}},
		{"Acme", "R8", []string{"Acme R8"}},
	} {
		for _, documents := range [][]reference.Release{nil, {{Manifest: version("2.4", 3)}}} {
			s := set(t, reference.Documents{Releases: documents, Denied: []reference.DenyList{denied("CVE-1", tt.vendor, tt.model)}})
			got := []string(nil)
			for _, of := range [][2]string{{"Acme", "R7"}, {"Acme", "R8"}, {"Other", "R7"}} {
				v := s.For(of[0], of[1]).At(start)
				advisory, note, bad := v.Denied(manifest.DeniedFile, contentOf(7))
				if bad {
					got = append(got, of[0]+" "+of[1])
					if advisory != "CVE-1 (CERT)" || note != "bad" {
						t.Errorf("Denied = %q, %q", advisory, note)
					}
				}
				if bad != v.HasDenied() {
					t.Errorf("%v: HasDenied = %t, want %t", of, v.HasDenied(), bad)
				}
				if _, _, bad := v.Denied(manifest.DeniedFile, contentOf(8)); bad {
					t.Errorf("%v: a digest that is on no list is denied", of)
				}
			}
			if diff := cmp.Diff(tt.concerns, got); diff != "" {
				t.Errorf("a list for %q %q: %s", tt.vendor, tt.model, diff)
			}
		}
	}
}

// TestDenySeveral: each list concerns its own models, also where another one concerns all of them.
func TestDenySeveral(t *testing.T) {
	other := denied("CVE-2", "Other", "")
	other.Entries[0].Digests = manifest.Digests{{Algorithm: pcr.SHA256, Value: contentOf(8)}}
	s := set(t, reference.Documents{
		Releases: []reference.Release{{Manifest: version("2.4", 3)}}, Denied: []reference.DenyList{denied("CVE-1", "", ""), other},
	})
	for _, tt := range []struct {
		vendor string
		digest int
		want   string
	}{{"Acme", 7, "CVE-1 (CERT)"}, {"Acme", 8, ""}, {"Other", 7, "CVE-1 (CERT)"}, {"Other", 8, "CVE-2 (CERT)"}, {"Third", 8, ""}} {
		if got, _, _ := s.For(tt.vendor, "R7").At(start).Denied(manifest.DeniedFile, contentOf(tt.digest)); got != tt.want {
			t.Errorf("digest %d of %s is denied by %q, want %q", tt.digest, tt.vendor, got, tt.want)
		}
	}
}

// TestLacks: independent endorsers by role.
func TestLacks(t *testing.T) {
	e := func(s string) (out []reference.Endorser) { // "issuer role key"
		for f := range strings.SplitSeq(s, ", ") {
			if w := strings.Fields(f); len(w) == 3 {
				out = append(out, reference.Endorser{Issuer: w[0], Role: reference.Role(w[1]), KeyID: w[2]})
			}
		}
		return out
	}
	vendorAndLabs := map[reference.Role]int{reference.RoleVendor: 1, reference.RoleLab: 2}
	for _, tt := range []struct {
		endorsers string
		need      map[reference.Role]int
		want      string
	}{
		{"A vendor 1", nil, ""},
		{"", nil, ""},
		{"", map[reference.Role]int{reference.RoleVendor: 1}, "0 of 1 with role vendor"},
		{"A vendor 1, B lab 2", vendorAndLabs, "1 of 2 with role lab"},
		{"A vendor 1, B lab 2, C lab 3", vendorAndLabs, ""},
		{"A vendor 1, B lab 2, B lab 3", vendorAndLabs, "1 of 2 with role lab"},
		{"A vendor 1, A lab 2, C lab 3", vendorAndLabs, "1 of 2 with role lab"},
		{"A vendor 1, A lab 2, B vendor 3, C lab 4", vendorAndLabs, ""},                           // A as a lab
		{"A vendor 1, B lab 1, C lab 3", vendorAndLabs, "1 of 2 with role lab"},                   // one key
		{"A vendor 1, B lab 1, B lab 2, C lab 2, D lab 3", vendorAndLabs, "1 of 2 with role lab"}, // a chain of keys
		{"A lab 1, B lab 2, C lab 3", vendorAndLabs, "0 of 1 with role vendor"},
		{"A vendor 1, B builder 2", map[reference.Role]int{reference.RoleBuilder: 1, reference.RoleVendor: 1}, ""},
		{"A vendor 1", map[reference.Role]int{reference.RoleVendor: 1 << 40}, "1 of 1099511627776 with role vendor"},
	} {
		s := set(t, reference.Documents{Releases: []reference.Release{{Manifest: version("1", 1), Endorsers: e(tt.endorsers)}}})
		if got := s.For("Acme", "R7").At(start).Alternatives()[0].Lacks(tt.need); got != tt.want {
			t.Errorf("Lacks(%v) of %s = %q, want %q", tt.need, tt.endorsers, got, tt.want)
		}
	}
	c := reference.Compile([]reference.Baseline{sample("own")}).For("Acme", "R7").At(start).Alternatives()[0]
	if got := c.Lacks(vendorAndLabs); got != "" {
		t.Errorf("a baseline lacks %q, want nothing: the operator made it", got)
	}
}

// TestGrown: a region's excluded ranges are compared with those of the version before.
func TestGrown(t *testing.T) {
	with := func(v string, svn uint64, ranges ...manifest.Range) *manifest.Manifest {
		m := version(v, svn)
		m.Regions = []manifest.Region{{
			Name: "bios", Length: 1 << 20, Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: contentOf(1)}}, Excluded: ranges,
		}}
		return m
	}
	small, large := manifest.Range{Offset: 100, Length: 50, Reason: "x"}, manifest.Range{Offset: 90, Length: 70, Reason: "x"}
	moved := manifest.Range{Offset: 200, Length: 50, Reason: "x"}
	for _, tt := range []struct {
		name       string
		old, fresh *manifest.Manifest
		supersedes bool
		grown      bool
	}{
		{name: "same", old: with("2.9", 1, small), fresh: with("2.10", 1, small)},
		{name: "larger", old: with("2.9", 1, small), fresh: with("2.10", 1, large), grown: true},
		{name: "smaller", old: with("2.9", 1, large), fresh: with("2.10", 1, small)},
		{name: "moved", old: with("2.9", 1, small), fresh: with("2.10", 1, moved), grown: true},
		{name: "one more", old: with("2.9", 1, small), fresh: with("2.10", 1, small, moved), grown: true},
		{name: "first", old: with("2.9", 1), fresh: with("2.10", 1, small), grown: true},
		{name: "by SVN", old: with("9", 1, small), fresh: with("1", 2, large), grown: true},
		{name: "older version after a newer", old: with("2.10", 1, small), fresh: with("2.9", 1, large)},
		{name: "older version that supersedes a newer", old: with("2.10", 1, small), fresh: with("2.9", 1, large), supersedes: true, grown: true},
		{name: "words", old: with("1.0-beta", 1, small), fresh: with("1.0-rc1", 1, large), grown: true},
		{name: "no region before", old: version("2.9", 1), fresh: with("2.10", 1, large)},
	} {
		for _, past := range []bool{false, true} {
			if tt.supersedes {
				tt.fresh.Supersedes = []manifest.Supersession{{ID: tt.old.ID}}
			}
			d := reference.Documents{Releases: []reference.Release{{Manifest: tt.fresh}}}
			if past {
				d.Past = []reference.Release{{Manifest: tt.old, State: "superseded"}}
			} else {
				d.Releases = append(d.Releases, reference.Release{Manifest: tt.old})
			}
			for _, c := range set(t, d).For("Acme", "R7").At(start).Alternatives() {
				if c.Name != tt.fresh.ID {
					continue
				}
				if g, got := c.Grown("bios"); got != tt.grown || got && !strings.HasPrefix(g.Before, tt.old.ID) {
					t.Errorf("%s, past %t: Grown = %+v, %t, want %t", tt.name, past, g, got, tt.grown)
				}
			}
		}
	}
}

// TestBuildRefuses: documents that are none.
func TestBuildRefuses(t *testing.T) {
	list := &manifest.Manifest{ID: "x", Advisory: "CVE-1", Denied: denied("x", "", "").Entries}
	invalid := version("2.4", 1)
	invalid.Model = ""
	for name, r := range map[string]reference.Release{"nothing": {}, "a deny-list": {Manifest: list}, "an invalid manifest": {Manifest: invalid}} {
		if s, err := reference.Build(reference.Documents{Releases: []reference.Release{r}}); err == nil || s != nil {
			t.Errorf("Build(%s) = %v, %v, want an error", name, s, err)
		}
		if s, err := reference.Build(reference.Documents{Past: []reference.Release{r}}); err == nil || s != nil {
			t.Errorf("Build(%s in the past) = %v, %v, want an error", name, s, err)
		}
	}
}

// TestManifestDocument: what a compiled manifest says of itself.
func TestManifestDocument(t *testing.T) {
	m := version("2.4", 3)
	on := secureBootEvent(1)
	m.PCRs = append(m.PCRs, manifest.PCR{Index: 7, Events: []manifest.Event{on}}, manifest.PCR{Index: 8, Coverage: manifest.Partial})
	m.Regions = []manifest.Region{{Name: "a", Length: 1, Digests: manifest.Digests{{Algorithm: pcr.SHA512, Value: make([]byte, 64)}}}}
	c := set(t, reference.Documents{Releases: []reference.Release{{Manifest: m}}}).For("Acme", "R7").At(start).Alternatives()[0]
	if c.Kind != reference.KindManifest || c.Name != m.ID || c.Firmware != "2.4" || c.SVN != 3 {
		t.Errorf("document = %+v", c)
	}
	if c.Secure == nil || !*c.Secure {
		t.Errorf("Secure = %v, want on", c.Secure)
	}
	if !c.Speaks(pcr.SHA256) || c.Speaks(pcr.SHA384) || c.PCRs() != pcr.Select(0, 7, 8) {
		t.Errorf("it speaks of PCRs %s", c.PCRs())
	}
	if c.PCR(7) == nil || c.PCR(6) != nil || c.Register(7) != nil {
		t.Error("PCR 7 is not that of the manifest")
	}
	if c.HasFlash() || c.HasFiles() || c.HasInventory() || c.HasTamper() {
		t.Error("it has parts that nothing can be compared with")
	}
	m.PCRs[1].Events = []manifest.Event{secureBootEvent(0)}
	c = set(t, reference.Documents{Releases: []reference.Release{{Manifest: m}}}).For("Acme", "R7").At(start).Alternatives()[0]
	if c.Secure == nil || *c.Secure {
		t.Errorf("Secure = %v, want off", c.Secure)
	}
	m.PCRs[1].Events = append(m.PCRs[1].Events, on)
	c = set(t, reference.Documents{Releases: []reference.Release{{Manifest: m}}}).For("Acme", "R7").At(start).Alternatives()[0]
	if c.Secure != nil {
		t.Errorf("Secure = %t where either is good, want open", *c.Secure)
	}
}

// secureBootEvent is the measurement of the variable SecureBoot (PFP 1.06, section 3.3.4.8).
func secureBootEvent(value byte) manifest.Event {
	data := []byte{0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c}
	data = append(data, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)
	for _, c := range "SecureBoot" {
		data = append(data, byte(c), 0)
	}
	sum := sha256.Sum256(append(data, value))
	return manifest.Event{
		Slot: "EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot", Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: sum[:]}}, Required: true,
	}
}
