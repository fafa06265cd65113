package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

func vendorKey(tenant, id, name string) store.VendorKey {
	return store.VendorKey{
		Tenant: tenant, ID: id, Name: name, Role: "vendor", Public: []byte{0x30, 0}, Vendors: []string{name}, Models: []string{"*", `R"7`},
		From: epoch.Add(-time.Hour), Until: epoch.Add(time.Hour), Added: epoch,
	}
}

func vendorKeys(s *suite) {
	b, a, second := vendorKey("t", "k1", "Beta"), vendorKey("t", "k2", "Acme"), vendorKey("t", "k0", "Acme")
	s.must("AddVendorKey", s.AddVendorKey(s.ctx, b, store.Event{Detail: "added b"}))
	s.must("AddVendorKey", s.AddVendorKey(s.ctx, a))
	s.must("AddVendorKey of the same holder", s.AddVendorKey(s.ctx, second))
	s.want("AddVendorKey of one that exists", s.AddVendorKey(s.ctx, b, store.Event{Detail: "no"}), store.ErrConflict)
	nowhere := vendorKey("t", "k3", "Acme")
	nowhere.Models = nil
	s.want("AddVendorKey for nothing", s.AddVendorKey(s.ctx, nowhere), store.ErrInvalid)
	list := func(want ...store.VendorKey) {
		s.Helper()
		got, err := s.VendorKeys(s.ctx, "t")
		s.must("VendorKeys", err)
		s.same("keys", got, want)
	}
	list(a, second, b)

	b.Vendors, b.Models, b.From, b.Until = []string{"*"}, []string{"X?"}, time.Time{}, epoch
	s.must("ScopeVendorKey", s.ScopeVendorKey(s.ctx, b, store.Event{Detail: "scoped b"}))
	s.want("ScopeVendorKey of nothing", s.ScopeVendorKey(s.ctx, vendorKey("t", "none", "x"), store.Event{Detail: "no"}), store.ErrNotFound)

	at := epoch.Add(time.Minute)
	s.must("RevokeVendorKey", s.RevokeVendorKey(s.ctx, "t", "k1", at, "stolen", store.Event{Detail: "revoked b"}))
	s.want("RevokeVendorKey later", s.RevokeVendorKey(s.ctx, "t", "k1", at.Add(time.Second), "later", store.Event{Detail: "no"}), store.ErrConflict)
	s.want("RevokeVendorKey again", s.RevokeVendorKey(s.ctx, "t", "k1", at, "again"), store.ErrConflict)
	s.want("RevokeVendorKey of nothing", s.RevokeVendorKey(s.ctx, "t", "none", at, ""), store.ErrNotFound)
	s.want("RevokeVendorKey of another tenant", s.RevokeVendorKey(s.ctx, "other", "k2", at, ""), store.ErrNotFound)
	s.want("RevokeVendorKey at no time", s.RevokeVendorKey(s.ctx, "t", "k2", time.Time{}, ""), store.ErrInvalid)
	b.Revoked, b.Reason = at, "stolen"
	list(a, second, b)
	s.must("RevokeVendorKey earlier", s.RevokeVendorKey(s.ctx, "t", "k1", at.Add(-time.Second), "earlier"))
	b.Revoked, b.Reason = at.Add(-time.Second), "earlier"
	s.Reopen()
	list(a, second, b)
	s.same("events", s.details("t", ""), []string{"revoked b", "scoped b", "added b"})
}

func manifestOf(tenant, vendor, name, key string) store.Manifest {
	sum := sha256.Sum256([]byte(vendor + name))
	return store.Manifest{
		Tenant: tenant, Digest: hex.EncodeToString(sum[:]), Name: name, Vendor: vendor, Model: "R7", Version: "2.5.0", Begins: epoch.Add(-time.Hour),
		Ends: epoch.Add(time.Hour), Size: 7, Submitted: epoch, From: epoch,
		Endorsements: []store.Endorsement{{Key: key, Issuer: "acme.test", Submitted: epoch, Judged: epoch, Ends: epoch.Add(time.Hour), Actor: "alice"}},
	}
}

func manifests(s *suite) {
	old, next := manifestOf("t", "Acme", "r7/1", "k1"), manifestOf("t", "Acme", "r7/2", "k1")
	s.must("AddManifest", s.AddManifest(s.ctx, next, []byte("next by k1"), nil))
	s.must("AddManifest", s.AddManifest(s.ctx, old, []byte("old by k1"), nil, store.Event{Detail: "added old"}))
	other := manifestOf("t", "Acme", "r7/1", "k1")
	other.Digest = next.Digest[:10]
	s.want("another content under a name", s.AddManifest(s.ctx, other, nil, nil, store.Event{Detail: "no"}), store.ErrConflict)
	same := manifestOf("t", "Beta", "r7/1", "k1")
	s.must("the same name of another vendor", s.AddManifest(s.ctx, same, nil, nil))
	for name, change := range map[string]func(*store.Manifest){
		"no name":        func(m *store.Manifest) { m.Name = "" },
		"no endorsement": func(m *store.Manifest) { m.Endorsements = nil },
		"no time":        func(m *store.Manifest) { m.From = time.Time{} },
		"NUL":            func(m *store.Manifest) { m.Model = "\x00" },
	} {
		m := manifestOf("t", "Acme", "r7/9", "k1")
		change(&m)
		s.want("AddManifest with "+name, s.AddManifest(s.ctx, m, nil, nil), store.ErrInvalid)
	}

	// A second endorser, one who signs again, and what that changes of another manifest: all or nothing.
	second := manifestOf("t", "Acme", "r7/2", "k2")
	second.Proof, second.Submitted, second.From = []byte{1, 2}, epoch.Add(time.Hour), epoch.Add(time.Hour)
	until := epoch.Add(24 * time.Hour)
	changes := []store.ManifestChange{{Digest: old.Digest, SupersededBy: "r7/2", Until: until}, {Digest: "none", SupersededBy: "x"}}
	s.want("AddManifest with a change of nothing", s.AddManifest(s.ctx, second, []byte("x"), changes), store.ErrNotFound)
	s.must("AddManifest by another key", s.AddManifest(s.ctx, second, []byte("next by k2"), changes[:1], store.Event{Detail: "endorsed"}))
	again := manifestOf("t", "Acme", "r7/2", "k1")
	again.Endorsements[0].Ends = epoch.Add(48 * time.Hour)
	s.must("AddManifest by the same key", s.AddManifest(s.ctx, again, []byte("next by k1 again"), nil))

	old.SupersededBy, old.Until = "r7/2", until
	next.Endorsements = []store.Endorsement{again.Endorsements[0], second.Endorsements[0]}
	next.Proof = second.Proof
	list := func() {
		s.Helper()
		got, err := s.Manifests(s.ctx, "t")
		s.must("Manifests", err)
		s.same("manifests", got, []store.Manifest{old, next, same})
	}
	list()
	for key, want := range map[string]string{"k1": "next by k1 again", "k2": "next by k2"} {
		got, err := s.ManifestDocument(s.ctx, "t", next.Digest, key)
		if err != nil || string(got) != want {
			s.Errorf("ManifestDocument(%s) = %q, %v, want %q", key, got, err, want)
		}
	}
	_, err := s.ManifestDocument(s.ctx, "t", next.Digest, "k3")
	s.want("ManifestDocument of a key that didn't sign", err, store.ErrNotFound)
	_, err = s.ManifestDocument(s.ctx, "other", next.Digest, "k1")
	s.want("ManifestDocument of another tenant", err, store.ErrNotFound)

	withdraw := func(at time.Time, reason string) []store.ManifestChange {
		return []store.ManifestChange{{Digest: old.Digest, Withdrawn: at, Reason: reason}}
	}
	s.must("ChangeManifests", s.ChangeManifests(s.ctx, "t", withdraw(epoch, "wrong"), store.Event{Detail: "withdrawn"}))
	s.must("ChangeManifests again", s.ChangeManifests(s.ctx, "t", withdraw(until, "later"))) // the first one counts
	s.want("ChangeManifests of another tenant", s.ChangeManifests(s.ctx, "other", withdraw(until, "no")), store.ErrNotFound)
	old.Withdrawn, old.Reason = epoch, "wrong"
	s.Reopen()
	list()
	s.same("events", s.details("t", ""), []string{"withdrawn", "endorsed", "added old"})
}

func denials(s *suite) {
	one := store.Denial{Tenant: "t", Digest: bytes.Repeat([]byte{1}, 32), Advisory: "CVE-1", Note: "implant", Actor: "alice", Added: epoch}
	two := store.Denial{Tenant: "t", Digest: bytes.Repeat([]byte{2}, 48), Advisory: "CVE-2", Actor: "alice", Added: epoch.Add(time.Second)}
	s.must("AddDenial", s.AddDenial(s.ctx, two))
	s.must("AddDenial", s.AddDenial(s.ctx, one, store.Event{Detail: "denied"}))
	s.want("AddDenial of one that is there", s.AddDenial(s.ctx, one, store.Event{Detail: "no"}), store.ErrConflict)
	short := one
	short.Digest = short.Digest[1:]
	s.want("AddDenial of no digest", s.AddDenial(s.ctx, short), store.ErrInvalid)
	list := func(want ...store.Denial) {
		s.Helper()
		got, err := s.Denials(s.ctx, "t")
		s.must("Denials", err)
		s.same("denials", got, want)
	}
	list(one, two)
	at := epoch.Add(time.Hour)
	s.must("RemoveDenial", s.RemoveDenial(s.ctx, "t", one.Digest, at, store.Event{Detail: "removed"}))
	s.want("RemoveDenial again", s.RemoveDenial(s.ctx, "t", one.Digest, at), store.ErrNotFound)
	s.want("RemoveDenial of another tenant", s.RemoveDenial(s.ctx, "other", two.Digest, at), store.ErrNotFound)
	one.Removed = at
	list(one, two)
	back := one
	back.Advisory, back.Added, back.Removed = "CVE-3", at.Add(time.Hour), time.Time{}
	s.must("AddDenial of a removed one", s.AddDenial(s.ctx, back))
	list(two, back)
	s.same("events", s.details("t", ""), []string{"removed", "denied"})
}

func choices(s *suite) {
	got, err := s.Choice(s.ctx, "t", "colour")
	if err != nil || got != "" {
		s.Errorf("Choice before any = %q, %v, want none", got, err)
	}
	s.must("Choose", s.Choose(s.ctx, "t", "colour", "red", store.Event{Detail: "red"}))
	s.must("Choose again", s.Choose(s.ctx, "t", "colour", "green"))
	s.want("Choose without name", s.Choose(s.ctx, "t", "", "x"), store.ErrInvalid)
	for tenant, want := range map[string]string{"t": "green", "other": ""} {
		if got, err = s.Choice(s.ctx, tenant, "colour"); err != nil || got != want {
			s.Errorf("Choice of %s = %q, %v, want %q", tenant, got, err, want)
		}
	}
	s.same("events", s.details("t", ""), []string{"red"})
}

// seenOf returns something with digests.
func seenOf(kind, name string, digests ...string) store.Seen {
	out := store.Seen{Content: sha256.Sum256([]byte(name)), Kind: kind, Group: "acme r7"}
	for _, d := range digests {
		sum := sha256.Sum256([]byte(d))
		out.Digests = append(out.Digests, store.SeenDigest{Digest: sum[:], Place: "place of " + d})
	}
	return out
}

// sight records an outcome of a device that refers to list.
func (s *suite) sight(device string, n int, boot string, list ...store.Seen) {
	s.Helper()
	o := outcome(s.stored("t", device), n)
	o.Result.BootID, o.Seen = boot, list
	s.must("Record", s.Record(s.ctx, o))
}

// sighted returns the devices that ever had a digest: "device place first-until" in minutes since epoch.
func (s *suite) sighted(digest string) (out []string) {
	s.Helper()
	sum := sha256.Sum256([]byte(digest))
	minute := func(t time.Time) string {
		if t.IsZero() {
			return "now"
		}
		return fmt.Sprint(int(t.Sub(epoch).Minutes()))
	}
	for after := int64(0); ; {
		page, err := s.Sightings(s.ctx, "t", sum[:], after, 2)
		s.must("Sightings", err)
		if len(page) == 0 {
			slices.Sort(out)
			return out
		}
		for _, x := range page {
			after = x.Seq
			out = append(out, fmt.Sprintf("%s %s %s %s-%s", x.Device[:2], x.Kind, x.Place, minute(x.First), minute(x.Until)))
		}
	}
}

func sightings(s *suite) {
	a, b := s.save(device("t", id("aa"))).ID, s.save(device("t", id("bb"))).ID
	known, err := s.Indexed(s.ctx, seenOf("boot", "log 1").Content)
	if err != nil || known {
		s.Errorf("Indexed before anything was seen = %t, %v", known, err)
	}
	s.sight(a, 1, "boot 1", seenOf("boot", "log 1", "grub", "kernel"), seenOf("flash", "flash 1", "bios"))
	known, err = s.Indexed(s.ctx, seenOf("boot", "log 1").Content)
	if err != nil || !known {
		s.Errorf("Indexed of what was seen = %t, %v", known, err)
	}
	s.sight(b, 1, "boot 9", seenOf("boot", "log 1")) // its digests are known
	s.sight(a, 2, "boot 1", seenOf("boot", "log 1")) // nothing is said of flash
	s.same("unchanged", s.sighted("grub"), []string{"aa boot place of grub 1-now", "bb boot place of grub 1-now"})
	s.same("of a kind that is left out", s.sighted("bios"), []string{"aa flash place of bios 1-now"})

	s.sight(a, 3, "boot 2", seenOf("boot", "log 2", "grub", "implant"))
	s.same("in two contents", s.sighted("grub"), []string{"aa boot place of grub 1-3", "aa boot place of grub 3-now", "bb boot place of grub 1-now"})
	s.same("kernel", s.sighted("kernel"), []string{"aa boot place of kernel 1-3", "bb boot place of kernel 1-now"})
	s.sight(a, 4, "boot 3", seenOf("boot", "log 1"))
	s.same("gone", s.sighted("implant"), []string{"aa boot place of implant 3-4"})
	s.same("come back", s.sighted("kernel"), []string{"aa boot place of kernel 1-now", "bb boot place of kernel 1-now"})
	s.same("never seen", s.sighted("nothing"), []string(nil))
	now, err := s.SightingsOf(s.ctx, "t", a)
	s.must("SightingsOf", err)
	if len(now) != 2 || now[0].Kind != "boot" || now[0].Content != seenOf("", "log 1").Content || now[1].Kind != "flash" {
		s.Errorf("SightingsOf = %+v, want a boot log and flash", now)
	}
	elsewhere, err := s.Sightings(s.ctx, "other", now[0].Content[:], 0, 0)
	if err != nil || len(elsewhere) != 0 {
		s.Errorf("Sightings of another tenant = %v, %v", elsewhere, err)
	}

	// An outcome that isn't recorded leaves no trace.
	o := outcome(device("t", a), 5)
	o.Device.Version, o.Seen = 1, []store.Seen{seenOf("boot", "log 3", "ghost")}
	s.want("Record with an old version", s.Record(s.ctx, o), store.ErrConflict)
	s.same("of what was not recorded", s.sighted("ghost"), []string(nil))
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", b))
	s.same("of a removed device", s.sighted("kernel"), []string{"aa boot place of kernel 1-now"})
	s.Reopen()
	s.same("after a restart", s.sighted("implant"), []string{"aa boot place of implant 3-4"})
}

// sightedFiles: lists of files that are nearly alike, which an implementation may keep as differences, and lists that
// come in parts.
func sightedFiles(s *suite) {
	var all []string
	for n := range 200 {
		all = append(all, fmt.Sprintf("file %d", n))
	}
	a, b, c := s.save(device("t", id("aa"))).ID, s.save(device("t", id("bb"))).ID, s.save(device("t", id("cc"))).ID
	s.sight(a, 1, "boot 1", seenOf("files", "a", all...))
	s.sight(b, 1, "boot 1", seenOf("files", "b", append(slices.Clone(all[5:]), "implant")...))
	s.sight(c, 1, "boot 1", seenOf("files", "c", append(slices.Clone(all[150:]), "other")...)) // not near enough
	at := func(devices ...string) []string { return devices }
	for name, want := range map[string][]string{
		"file 0": at("aa"), "file 4": at("aa"), "file 5": at("aa", "bb"), "file 199": at("aa", "bb", "cc"), "implant": at("bb"), "other": at("cc"),
	} {
		var got []string
		for _, line := range s.sighted(name) {
			got = append(got, line[:2])
		}
		s.same("devices with "+name, got, want)
	}
	// A list comes in parts; all of them last until the next boot.
	s.sight(a, 2, "boot 1", seenOf("files", "a2", "late"))
	s.sight(a, 3, "boot 1", seenOf("boot", "log", "grub"))
	s.same("first part", s.sighted("file 0"), []string{"aa files place of file 0 1-now"})
	s.sight(a, 4, "boot 2", seenOf("files", "a3", "file 0"))
	s.same("late, after a boot", s.sighted("late"), []string{"aa files place of late 2-4"})
	s.same("file 0, after a boot", s.sighted("file 0"), []string{"aa files place of file 0 1-4", "aa files place of file 0 4-now"})
	// The same list again in another boot.
	s.sight(a, 5, "boot 3", seenOf("files", "a", all...))
	s.same("list of another boot", s.sighted("file 1"), []string{"aa files place of file 1 1-now"})
}
