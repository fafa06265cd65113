package fleet

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise/appraisetest"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func (r *rig) create(d *device, name string) (NewBaseline, error) {
	return r.CreateBaseline(r.Context(), tenant, BaselineSpec{Device: d.ID, Name: name}, "alice")
}

// open verifies a stored baseline.
func (r *rig) open(got NewBaseline) reference.Baseline {
	r.Helper()
	b, err := reference.Open(got.Document, &r.key.PublicKey)
	if err != nil {
		r.Fatal(err)
	}
	return b
}

// TestBaseline: a baseline has what the device measured, is in force at once and asks its model's devices to attest.
func TestBaseline(t *testing.T) {
	r := newRig(t)
	d, other, unlike := r.healthy(), r.healthy(), r.healthy()
	unlike.Platform.Model = "R8"
	for _, one := range []*device{d, other, unlike} {
		one.attest(result.Unsupported)
	}
	r.sender.all = nil
	got, err := r.create(d, "r7")
	if err != nil {
		t.Fatal(err)
	}
	b := r.open(got)
	if b.Name != "r7" || b.Tenant != tenant || b.Vendor != "Acme" || b.Model != "R7" || b.Firmware != "2.4.1" || b.Device != d.ID ||
		!b.Created.Equal(r.clock.Now()) || got.Kind != "baseline" || !got.Retired.IsZero() {
		t.Errorf("reference %+v with baseline of %s %s", got, b.Vendor, b.Model)
	}
	if n, err := ima.Count(d.IMA); err != nil || len(b.Files) == 0 || len(b.Files) >= n {
		t.Errorf("%d files of %d IMA entries, %v", len(b.Files), n, err)
	}
	for _, p := range b.PCRs {
		if !bytes.Equal(p.Value, d.Bank.Value(p.Index)) || p.ReportOnly != slices.Contains(defaultReportOnly, p.Index) {
			t.Errorf("PCR %d: value %x, report only %t", p.Index, p.Value, p.ReportOnly)
		}
	}
	for one, want := range map[*device]int{d: 1, other: 1, unlike: 0} {
		if got := len(r.sender.take(one.ID, proto.DownChallenge)); got != want {
			t.Errorf("device of model %s got %d challenges, want %d", one.Platform.Model, got, want)
		}
	}
	if got := d.events("baseline-created"); len(got) != 1 || !strings.Contains(got[0], "r7") {
		t.Errorf("events = %q", got)
	}
	if got := d.submit(d.report(d.challenged())); got == nil || got.State != string(result.Trusted) {
		t.Errorf("receipt = %+v, want trusted at once", got)
	}
	other.attest(result.Trusted)
	unlike.attest(result.Unsupported)

	if _, err := r.create(d, "r7"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a name that is taken: %v, want ErrConflict", err)
	}
	stored, err := r.store.References(t.Context(), tenant)
	if err != nil || len(stored) != 1 || !bytes.Equal(stored[0].Document, got.Document) {
		t.Errorf("references = %d, %v: the first was touched", len(stored), err)
	}
	spec := BaselineSpec{Device: d.ID, ReportOnly: []int{}}
	second, err := r.CreateBaseline(t.Context(), tenant, spec, "alice")
	if err != nil || second.Name != "r7-2.4.1-"+r.clock.Now().Format("20060102-150405.000") {
		t.Errorf("baseline without a name is called %q, %v", second.Name, err)
	}
	for _, p := range r.open(second).PCRs {
		if p.ReportOnly {
			t.Errorf("PCR %d is only reported, though nobody said so", p.Index)
		}
	}
}

// split returns how many bytes of a list its first n entries have.
func split(t *testing.T, list []byte, n int) int {
	t.Helper()
	at, err := ima.Skip(list, n)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestBaselineOfSegments: an IMA list that came in pieces, some of them read further than the quote, is whole again.
func TestBaselineOfSegments(t *testing.T) {
	r := newRig(t)
	list := fixture(t, "ima", "grub-secure-boot")
	n, err := ima.Count(list)
	if err != nil {
		t.Fatal(err)
	}
	if n < 12 {
		t.Fatalf("the list has %d entries only", n)
	}
	sim, err := appraisetest.New(fixture(t, "eventlogs", "grub-secure-boot"), list[:split(t, list, n/4)])
	if err != nil {
		t.Fatal(err)
	}
	d := r.enrolled(sim, result.Certified)
	d.attest(result.Unsupported)
	d.attest(result.Unsupported) // brings nothing new
	measured := n / 4
	for _, step := range []struct{ measured, shown int }{{n / 2, n/2 + 3}, {n/2 + 3, n/2 + 3}, {n - 1, n}} {
		if err := d.Measure(list[split(t, list, measured):split(t, list, step.measured)]); err != nil {
			t.Fatal(err)
		}
		measured, d.IMA = step.measured, list[:split(t, list, step.shown)]
		d.attest(result.Unsupported)
		if got := d.results()[0].Result.IMAEntries; got != uint64(measured) {
			t.Fatalf("%d entries appraised, want %d", got, measured)
		}
	}
	got, err := r.create(d, "pieces")
	if err != nil {
		t.Fatal(err)
	}
	whole := r.healthy()
	whole.IMA = list[:split(t, list, n-1)]
	whole.Bank = d.Bank
	whole.attest(result.Trusted) // its files are all known
	files := make(map[string]bool)
	for s := ima.NewScanner(whole.IMA); s.Scan(); {
		if f, ok := s.Entry().File(); ok && !s.Entry().Violation() && !s.Entry().IsBootAggregate() {
			files[f.Path+string(f.Digest)] = true
		}
	}
	if b := r.open(got); len(b.Files) != len(files) {
		t.Errorf("%d files in the baseline, want %d", len(b.Files), len(files))
	}

	// Without a piece there is no baseline, rather than one that is too small.
	r.store.before = func(op string) error {
		if op == "Content" {
			return store.ErrNotFound
		}
		return nil
	}
	if _, err := r.create(d, "hole"); err == nil {
		t.Error("a baseline was made of what is not there")
	}
}

// TestBaselineRefused: there are no reference values of what contradicts itself, or is not there.
func TestBaselineRefused(t *testing.T) {
	r := newRig(t)
	never := r.healthy()
	liar := r.healthy()
	liar.BootLog = fixture(t, "eventlogs", "uki")
	liar.attest(result.Untrusted)
	sim, err := appraisetest.NewSoftware()
	if err != nil {
		t.Fatal(err)
	}
	soft := r.enrolled(sim, result.Software)
	soft.attest(result.Warning)
	for _, test := range []struct {
		name, want string
		d          *device
	}{
		{"never attested", "has not attested yet", never},
		{"boot log of another machine", "contradicts itself", liar},
		{"no TPM", "no TPM", soft},
	} {
		_, err := r.create(test.d, "x")
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(refused.Refused(), test.want) {
			t.Errorf("%s: %v, want a refusal that says %q", test.name, err, test.want)
		}
	}
	if _, err := r.CreateBaseline(t.Context(), "other", BaselineSpec{Device: liar.ID}, "alice"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a baseline of another tenant's device: %v, want ErrNotFound", err)
	}
	if got, err := r.store.References(t.Context(), tenant); err != nil || len(got) != 0 {
		t.Errorf("%d references, %v", len(got), err)
	}
}

// TestBaselineNotStored: reference values that could not be stored are not in force.
func TestBaselineNotStored(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	d.attest(result.Unsupported)
	r.store.before = func(op string) error {
		if op == "AddReference" {
			return errFault
		}
		return nil
	}
	if _, err := r.create(d, "x"); !errors.Is(err, errFault) {
		t.Errorf("CreateBaseline = %v", err)
	}
	d.attest(result.Unsupported)
	r.store.before, r.sender.err = nil, errFault // that devices cannot be asked does not undo it
	if _, err := r.create(d, "x"); err != nil {
		t.Errorf("CreateBaseline = %v", err)
	}
	r.sender.err = nil
	d.attest(result.Trusted)
}

func TestRetireReference(t *testing.T) {
	r := newRig(t)
	d := r.trusted()
	r.sender.take(d.ID, proto.DownChallenge)
	if err := r.RetireReference(t.Context(), tenant, "r7-2.4.1", "bob"); err != nil {
		t.Fatal(err)
	}
	if got := len(r.sender.take(d.ID, proto.DownChallenge)); got != 1 {
		t.Errorf("%d challenges after its reference was retired, want 1", got)
	}
	if got := d.submit(d.report(d.challenged())); got == nil || got.State != string(result.Unsupported) {
		t.Errorf("receipt = %+v, want unsupported at once", got)
	}
	if got := r.events("", "reference-retired"); len(got) != 1 || got[0] != "r7-2.4.1" {
		t.Errorf("events = %q", got)
	}
	if err := r.RetireReference(t.Context(), tenant, "r7-2.4.1", "bob"); !errors.Is(err, store.ErrConflict) {
		t.Errorf("retired twice: %v, want ErrConflict", err)
	}
	if err := r.RetireReference(t.Context(), tenant, "none", "bob"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown name: %v, want ErrNotFound", err)
	}
}

// TestReplica: what another replica puts in force or retires is in force here after a while.
func TestReplica(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	d.attest(result.Unsupported)
	mine := r.Fleet
	r.restart()
	d.baseline("r7")
	d.attest(result.Trusted)
	r.Fleet = mine
	r.clock.advance(referenceAge)
	d.attest(result.Trusted)
	r.restart()
	if err := r.RetireReference(t.Context(), tenant, "r7", "bob"); err != nil {
		t.Fatal(err)
	}
	r.Fleet = mine
	d.attest(result.Unsupported)

	// The store is asked now and then only.
	reads := 0
	r.store.before = func(op string) error {
		if op == "References" {
			reads++
		}
		return nil
	}
	for range 100 {
		d.challenged()
		r.clock.advance(time.Second)
	}
	if reads < 9 || reads > 11 {
		t.Errorf("references were read %d times in 100 s, want every %s", reads, referenceAge)
	}
}

// TestTamperedReference: reference values that this verifier did not sign, or not for this name and tenant, stop the
// appraisal until they are retired. Nothing is trusted by them.
func TestTamperedReference(t *testing.T) {
	r := newRig(t)
	d := r.healthy()
	d.attest(result.Unsupported)
	good, err := r.create(d, "good")
	if err != nil {
		t.Fatal(err)
	}
	b := r.open(good)
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b.Name = "forged"
	forged, err := reference.Sign(b, foreign)
	if err != nil {
		t.Fatal(err)
	}
	b.Tenant, b.Name = "other", "moved"
	moved, err := reference.Sign(b, r.key)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good.Document)
	flipped[len(flipped)/2] ^= 1
	for name, document := range map[string][]byte{
		"forged": forged, "moved": moved, "renamed": good.Document, "flipped": flipped, "nothing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r.T, d.r.T = t, t
			message := d.report(d.challenged())
			err := r.store.AddReference(t.Context(), store.Reference{
				Tenant: tenant, Name: name, Kind: "baseline", Document: document, Created: r.clock.Now(),
			})
			if err != nil {
				t.Fatal(err)
			}
			r.restart()
			before := d.stored()
			if got := d.submit(message); got != nil {
				t.Errorf("receipt = %+v", got)
			}
			r.clock.advance(time.Minute)
			d.sayReady()
			if got := r.sender.take(d.ID, proto.DownChallenge); len(got) != 0 {
				t.Error("a device was challenged")
			}
			if got := d.stored(); got.Version != before.Version {
				t.Error("the device changed")
			}
			if log := r.log.String(); !strings.Contains(log, `reference values \"`+name+`\"`) || !strings.Contains(log, "retire") {
				t.Errorf("the log does not say which reference is bad:\n%s", log)
			}
			if err := r.RetireReference(t.Context(), tenant, name, "bob"); err != nil {
				t.Fatal(err)
			}
			d.attest(result.Trusted)
		})
	}
}
