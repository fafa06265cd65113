package appraise_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// published returns a manifest of everything that a log measures, by events alone. PCR 1 and 5 are informative, as they
// belong to the single machine.
func published(t testing.TB, version string, svn uint64, log []byte) *manifest.Manifest {
	t.Helper()
	parsed, err := eventlog.Parse(log)
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest.Manifest{ID: "acme/r7/" + version, Vendor: "Acme", Model: "R7", Version: version, SVN: svn}
	for i := range pcr.Count {
		p := manifest.PCR{Index: i}
		if i == 1 || i == 5 {
			p.Coverage = manifest.Informative
		}
		for k := range parsed.Events {
			e := &parsed.Events[k]
			if int(e.PCR) != i || !e.Extends() {
				continue
			}
			digest := bytes.Clone(e.Digest(pcr.SHA256))
			if !slices.ContainsFunc(p.Events, func(o manifest.Event) bool {
				return o.Slot == e.Slot() && bytes.Equal(o.Digests.Get(pcr.SHA256), digest)
			}) {
				p.Events = append(p.Events, manifest.Event{
					Slot: e.Slot(), Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: digest}}, Required: true,
				})
			}
		}
		if len(p.Events) > 0 {
			m.PCRs = append(m.PCRs, p)
		}
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	return m
}

func register(m *manifest.Manifest, i int) *manifest.PCR {
	return &m.PCRs[slices.IndexFunc(m.PCRs, func(p manifest.PCR) bool { return p.Index == i })]
}

// withDocuments gives the bench references.
func (b *bench) withDocuments(d reference.Documents) *bench {
	b.t.Helper()
	set, err := reference.Build(d)
	if err != nil {
		b.t.Fatal(err)
	}
	b.set = set
	return b
}

func (b *bench) releases(list ...*manifest.Manifest) *bench {
	b.t.Helper()
	var d reference.Documents
	for _, m := range list {
		d.Releases = append(d.Releases, reference.Release{Manifest: m, Endorsers: []reference.Endorser{{Issuer: "Acme", Role: reference.RoleVendor, KeyID: "1"}}})
	}
	return b.withDocuments(d)
}

// bootBench is a bench whose policy leaves IMA out.
func bootBench(t testing.TB, log []byte) *bench {
	t.Helper()
	d, err := appraisetest.New(log, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := benchFor(t, d)
	p := appraise.DefaultPolicy()
	p.IMA = appraise.Ignored
	b.policy = p.Seal()
	return b
}

// TestManifestOfEveryLog: a device whose log a manifest describes is trusted, in every captured boot.
func TestManifestOfEveryLog(t *testing.T) {
	for _, name := range []string{
		"grub-secure-boot", "systemd-boot", "uki", "uki-cmdline", "direct-four-banks", "arm64-aavmf-uki", "arm64-uboot-uki",
	} {
		log := fixture(t, "eventlogs", name)
		b := bootBench(t, log).releases(published(t, "2.4.1", 3, log))
		r := b.attest()
		b.wantState(r, result.Trusted)
		if len(r.Findings) > 0 {
			t.Errorf("%s: findings %v, want none", name, codesOf(r))
		}
		if want := []string{"acme/r7/2.4.1"}; !slices.Equal(r.References, want) {
			t.Errorf("%s: references %v, want %v", name, r.References, want)
		}
	}
}

// TestManifestImplant: whatever is measured, and not in the set, or no longer measured, is found and named.
func TestManifestImplant(t *testing.T) {
	log := fixture(t, "eventlogs", "grub-secure-boot")
	bad := remeasure(t, log, eventlogtest.BootLoader, nil)
	for _, tt := range []struct {
		name   string
		log    []byte
		change func(*manifest.Manifest)
		want   string
		state  result.State
	}{
		{"replaced boot loader", bad, nil, "boot-event-changed", result.Untrusted},
		{
			"replaced boot loader, partial", bad, func(m *manifest.Manifest) { register(m, 4).Coverage = manifest.Partial },
			"boot-event-changed", result.Untrusted,
		},
		{
			"replaced boot loader, informative", bad, func(m *manifest.Manifest) { register(m, 4).Coverage = manifest.Informative },
			"boot-difference", result.Trusted,
		},
		{"event that the manifest lacks", log, func(m *manifest.Manifest) { drop(register(m, 0)) }, "boot-event-unknown", result.Untrusted},
		{"event of another type", log, func(m *manifest.Manifest) { register(m, 0).Events[0].Slot = "EV_IPL other" }, "boot-event-unknown", result.Untrusted},
		{"event of another place", log, func(m *manifest.Manifest) {
			for k := range register(m, 4).Events {
				if e := &register(m, 4).Events[k]; strings.HasPrefix(e.Slot, "EV_EFI_BOOT_SERVICES_APPLICATION") {
					e.Slot = fmt.Sprintf("EV_EFI_BOOT_SERVICES_APPLICATION elsewhere%d", k)
				}
			}
		}, "", result.Trusted},
		{"event that the manifest lacks, partial", log, func(m *manifest.Manifest) {
			drop(register(m, 0))
			register(m, 0).Coverage = manifest.Partial
		}, "boot-event-uncovered", result.Trusted},
		{"required event that was not measured", log, func(m *manifest.Manifest) { extra(register(m, 4), true) }, "boot-event-missing", result.Untrusted},
		{"allowed event that was not measured", log, func(m *manifest.Manifest) { extra(register(m, 4), false) }, "", result.Trusted},
		{"value of another boot", log, func(m *manifest.Manifest) { value(register(m, 4), 1) }, "pcr-mismatch", result.Untrusted},
		{"events of another bank only", log, func(m *manifest.Manifest) {
			for i := range register(m, 4).Events {
				register(m, 4).Events[i].Digests[0] = manifest.Digest{Algorithm: pcr.SHA384, Value: make([]byte, 48)}
			}
			register(m, 4).Events = register(m, 4).Events[:1]
		}, "pcr-uncovered", result.Trusted},
		{"PCR that the manifest leaves out", log, func(m *manifest.Manifest) { m.PCRs = m.PCRs[:len(m.PCRs)-1] }, "pcr-uncovered", result.Trusted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := published(t, "2.4.1", 3, log)
			if tt.change != nil {
				tt.change(m)
			}
			b := bootBench(t, tt.log).releases(m)
			r := b.attest()
			b.wantState(r, tt.state)
			if tt.want == "" {
				if len(r.Findings) > 0 {
					t.Errorf("findings %v, want none", codesOf(r))
				}
				return
			}
			wantFinding(t, r, tt.want)
		})
	}
}

// drop removes the last event of a PCR whose slot has no other.
func drop(p *manifest.PCR) {
	for k := len(p.Events) - 1; k >= 0; k-- {
		slot := p.Events[k].Slot
		if n := len(slices.DeleteFunc(slices.Clone(p.Events), func(e manifest.Event) bool { return e.Slot != slot })); n == 1 {
			p.Events = slices.Delete(p.Events, k, k+1)
			return
		}
	}
	panic("no slot with one event")
}

func extra(p *manifest.PCR, required bool) {
	p.Events = append(p.Events, manifest.Event{
		Slot: "EV_IPL extra", Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: make([]byte, 32)}}, Required: required,
	})
}

func value(p *manifest.PCR, b byte) {
	p.Values = []manifest.Digests{{{Algorithm: pcr.SHA256, Value: bytes.Repeat([]byte{b}, 32)}}}
}

// TestManifestValues: a manifest of values alone needs no log; one of events alone says nothing without one.
func TestManifestValues(t *testing.T) {
	log := fixture(t, "eventlogs", "uki")
	b := bootBench(t, log)
	events := published(t, "1", 0, log)
	values := published(t, "1", 0, log)
	for i := range values.PCRs {
		p := &values.PCRs[i]
		p.Events = nil
		p.Values = []manifest.Digests{
			{{Algorithm: pcr.SHA256, Value: bytes.Repeat([]byte{1}, 32)}},
			{{Algorithm: pcr.SHA256, Value: bytes.Clone(b.device.Bank.Value(p.Index))}},
		}
	}
	p := appraise.DefaultPolicy()
	p.IMA, p.BootLog = appraise.Ignored, appraise.Ignored
	b.policy = p.Seal()
	b.device.BootLog = nil
	b.releases(values)
	b.wantState(b.attest(), result.Trusted)
	b.releases(events)
	r := b.attest()
	b.wantState(r, result.Warning)
	if f := wantFinding(t, r, "pcr-uncovered"); !strings.HasPrefix(f.Component, "PCR 0") || !strings.Contains(f.Component, ", PCR 7") {
		t.Errorf("finding %s, want one of all PCRs", f.Line())
	}
	if n := strings.Count(strings.Join(codesOf(r), " "), "pcr-uncovered"); n != 1 {
		t.Errorf("%d findings say that a log is missing, want one: %v", n, codesOf(r))
	}
}

// TestManifestPatterns: "*" in a slot stands for what differs between machines, and each required event of a pattern must
// be there.
func TestManifestPatterns(t *testing.T) {
	log := fixture(t, "eventlogs", "grub-secure-boot")
	m := published(t, "2.4.1", 3, log)
	apps := 0
	for k := range register(m, 4).Events {
		if e := &register(m, 4).Events[k]; strings.HasPrefix(e.Slot, "EV_EFI_BOOT_SERVICES_APPLICATION") {
			e.Slot, apps = "EV_EFI_BOOT_SERVICES_APPLICATION*", apps+1
		}
	}
	if apps < 2 {
		t.Fatalf("%d boot applications, want several", apps)
	}
	b := bootBench(t, log).releases(m)
	r := b.attest()
	b.wantState(r, result.Trusted)
	b = bootBench(t, remeasure(t, log, eventlogtest.BootLoader, nil)).releases(m)
	r = b.attest()
	b.wantState(r, result.Untrusted)
	wantFinding(t, r, "boot-event-changed")
	e := &register(m, 4).Events
	*e = append(*e, manifest.Event{
		Slot: "EV_EFI_BOOT_SERVICES_APPLICATION*", Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: make([]byte, 32)}}, Required: true,
	})
	b = bootBench(t, log).releases(m)
	wantFinding(t, b.attest(), "boot-event-missing")
}

// TestManifestSecureBoot: a manifest that measures Secure Boot as on makes it a requirement.
func TestManifestSecureBoot(t *testing.T) {
	log := fixture(t, "eventlogs", "grub-secure-boot")
	off := remeasure(t, log, eventlogtest.SecureBoot, eventlogtest.Off)
	b := bootBench(t, off).releases(published(t, "2.4.1", 3, log))
	r := b.attest()
	b.wantState(r, result.Untrusted)
	wantFinding(t, r, "secure-boot-off")
	if slices.Contains(codesOf(r), "boot-event-changed") {
		t.Errorf("findings %v say the same twice", codesOf(r))
	}
}

// TestRequiredPCRs: what the policy wants known must be known completely.
func TestRequiredPCRs(t *testing.T) {
	log := fixture(t, "eventlogs", "uki")
	m := published(t, "2.4.1", 3, log)
	register(m, 7).Coverage = manifest.Partial
	for want, required := range map[result.State]pcr.Selection{result.Trusted: pcr.Select(0, 4, 10), result.Warning: pcr.Select(0, 7)} {
		b := bootBench(t, log).releases(m)
		p := *b.policy
		p.RequiredPCRs = required
		b.policy = p.Seal()
		r := b.attest()
		b.wantState(r, want)
		if want == result.Warning {
			if f := wantFinding(t, r, "pcr-uncovered"); !strings.HasPrefix(f.Component, "PCR 7") {
				t.Errorf("finding %s, want one of PCR 7", f.Line())
			}
		}
	}
	for _, i := range []int{3, 1, 14} {
		b := bootBench(t, log)
		own := b.baseline("own")
		if i == 14 {
			own.PCRs = slices.DeleteFunc(own.PCRs, func(r reference.Register) bool { return r.Index == 14 })
		}
		b.withDocuments(reference.Documents{Baselines: []reference.Baseline{own}})
		p := *b.policy
		p.RequiredPCRs = pcr.Select(i)
		b.policy = p.Seal()
		want := map[int]result.State{3: result.Trusted, 1: result.Warning, 14: result.Warning}[i]
		b.wantState(b.attest(), want)
	}
}

// TestManifestNearest: what another version or a withdrawn one has is named.
func TestManifestNearest(t *testing.T) {
	log := fixture(t, "eventlogs", "grub-secure-boot")
	bad := remeasure(t, log, eventlogtest.BootLoader, nil)
	other := published(t, "2.3.0", 2, bad)
	for name, d := range map[string]reference.Documents{
		"acme/r7/2.3.0 (withdrawn)": {
			Releases: []reference.Release{{Manifest: published(t, "2.4.1", 3, log)}}, Past: []reference.Release{{Manifest: other, State: "withdrawn"}},
		},
	} {
		b := bootBench(t, bad).withDocuments(d)
		r := b.attest()
		b.wantState(r, result.Untrusted)
		if f := wantFinding(t, r, "boot-event-changed"); f.Nearest != name {
			t.Errorf("nearest %q, want %q", f.Nearest, name)
		}
	}
}

// TestManifestMutations flips every bit of every digest of a manifest's PCRs: the device no longer fits.
func TestManifestMutations(t *testing.T) {
	log := fixture(t, "eventlogs", "uki")
	m := published(t, "2.4.1", 3, log)
	b := bootBench(t, log)
	b.memo = nil
	for i := range m.PCRs {
		p := &m.PCRs[i]
		if p.Coverage == manifest.Informative {
			continue
		}
		for k := range p.Events {
			d := p.Events[k].Digests[0].Value
			bit := (i*31 + k*7) % 256
			d[bit/8] ^= 1 << (bit % 8)
			b.releases(m)
			b.record = appraise.Record{}
			if r := b.attest(); r.State != result.Untrusted {
				t.Errorf("PCR %d, %s with bit %d changed: %s", p.Index, p.Events[k].Slot, bit, r.State)
			}
			d[bit/8] ^= 1 << (bit % 8)
		}
	}
	b.releases(m)
	b.wantState(b.attest(), result.Trusted)
}

// BenchmarkManifests appraises an unchanged device of a model with many releases, and one that is seen for the first time.
func BenchmarkManifests(b *testing.B) {
	log := fixture(b, "eventlogs", "grub-secure-boot")
	s := bootBench(b, log)
	var list []*manifest.Manifest
	for v := range 100 {
		m := published(b, fmt.Sprintf("2.%d", v), 3, log)
		m.ID = fmt.Sprintf("acme/r7/2.%03d", v)
		if v < 99 {
			register(m, 4).Events[0].Digests[0].Value[0] ^= byte(v + 1)
		}
		list = append(list, m)
	}
	s.releases(list...)
	s.attest()
	message := s.report()
	b.Run("steady", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.appraise(message); err != nil {
				b.Fatal(err)
			}
		}
	})
	model := s.set.For("Acme", "R7").At(s.now)
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			appraise.Boot(s.device.Bank, log, model, s.policy)
		}
	})
}

// lengthened appends events to a log, of other content each.
func lengthened(t testing.TB, log []byte, index, n int) []byte {
	t.Helper()
	parsed, err := eventlog.Parse(log)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	out := bytes.Clone(log)
	for k := range n {
		data := fmt.Appendf(nil, "event %d", k)
		out = le.AppendUint32(le.AppendUint32(out, uint32(index)), uint32(eventlog.IPL))
		out = le.AppendUint32(out, uint32(len(parsed.Banks)))
		for _, a := range parsed.Banks {
			h := a.New()
			h.Write(data)
			out = append(le.AppendUint16(out, uint16(a)), h.Sum(nil)...)
		}
		out = append(le.AppendUint32(out, uint32(len(data))), data...)
	}
	return out
}

// TestManifestFlood: a log of very many events that no manifest has is told in few words, whatever the coverage.
func TestManifestFlood(t *testing.T) {
	log := fixture(t, "eventlogs", "grub-secure-boot")
	m := published(t, "2.4.1", 3, log)
	const index = 9
	for _, coverage := range []manifest.Coverage{manifest.Complete, manifest.Partial} {
		register(m, index).Coverage = coverage
		b := bootBench(t, lengthened(t, log, index, 5000)).releases(m, published(t, "2.5.0", 3, log))
		r := b.attest()
		b.wantState(r, result.Untrusted)
		if len(r.Findings) > 32 {
			t.Errorf("%d findings", len(r.Findings))
		}
		wantFinding(t, r, "boot-event-unknown")
	}
	register(m, index).Coverage = manifest.Partial
	b := bootBench(t, lengthened(t, log, index, 3)).releases(m)
	r := b.attest()
	b.wantState(r, result.Trusted)
	if f := wantFinding(t, r, "boot-event-uncovered"); strings.Count(f.Component, ",") != 3 {
		t.Errorf("finding %s does not name the events", f.Line())
	}
}
