package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// DryRun is what a manifest would change, found by appraising the newest stored evidence of the devices of its model
// again. A device is appraised three times: as references are now, with the manifest beside them (the overlap), and
// with the manifest in the place of what it supersedes.
type DryRun struct {
	Name, Vendor, Model, Version string
	Advisory                     string   // set: it is a deny-list, whose overlap is the end of it
	Supersedes                   []string // ids of the manifests in force that it would take the place of
	Notes                        []string // what was assumed, for people

	Devices  int // appraised
	Unjudged int // without evidence that can be appraised again
	Now      map[result.State]int
	Overlap  map[result.State]int
	After    map[result.State]int

	// Changes are the devices whose state or findings change, and those that can't be judged, in ascending id; at most
	// maxListed. Left counts the others.
	Changes []DryRunDevice
	Left    int
}

// DryRunDevice is one device of a dry run.
type DryRunDevice struct {
	ID, Label           string
	Now, Overlap, After result.State
	Came, Went          []result.Finding // findings after that are not there now, and the other way round
	Problem             string           // why it can't be judged; then there is nothing else
}

// StartDryRun begins a dry run of a manifest, signed or not, and returns the id under which DryRunState knows it.
func (f *Fleet) StartDryRun(ctx context.Context, tenant string, document []byte) (string, error) {
	plan, err := f.planDryRun(ctx, tenant, document)
	if err != nil {
		return "", err
	}
	return f.jobs.start(tenant, "dry run", f.cfg.Now(), func(ctx context.Context, report func(Progress)) (any, error) {
		return f.dryRun(ctx, plan, report)
	})
}

// DryRunState returns how far a dry run is, and once it is over what it found.
func (f *Fleet) DryRunState(tenant, id string) (found DryRun, p Progress, over bool, err error) {
	one, err := f.jobs.get(tenant, "dry run", id)
	if err != nil {
		return DryRun{}, Progress{}, false, err
	}
	return jobState[DryRun](one)
}

// DryRun does the same at once.
func (f *Fleet) DryRun(ctx context.Context, tenant string, document []byte) (DryRun, error) {
	plan, err := f.planDryRun(ctx, tenant, document)
	if err != nil {
		return DryRun{}, err
	}
	return f.dryRun(ctx, plan, func(Progress) {})
}

// dryRunPlan is the three sets of references that devices are compared with.
type dryRunPlan struct {
	tenant              string
	at                  time.Time // at which the manifest counts
	out                 DryRun
	now, overlap, after *reference.Set
	memo                [3]*appraise.Memo
}

// planDryRun compiles the references. A signed manifest must be acceptable as SubmitManifest would accept it, but for a
// log proof.
func (f *Fleet) planDryRun(ctx context.Context, tenant string, document []byte) (*dryRunPlan, error) {
	now := f.cfg.Now().UTC()
	a, notes, err := f.tried(ctx, tenant, document, now)
	if err != nil {
		return nil, err
	}
	m := a.manifest
	p := &dryRunPlan{
		tenant: tenant, at: a.stored.From, memo: [3]*appraise.Memo{{}, {}, {}},
		out: DryRun{Name: m.ID, Vendor: m.Vendor, Model: m.Model, Version: m.Version, Advisory: m.Advisory, Notes: notes},
	}
	if p.at.After(now) {
		p.out.Notes = append(p.out.Notes, "the manifest counts from "+p.at.Format(time.RFC3339)+" on; devices are appraised as of then")
	}
	all, err := f.cfg.Store.Manifests(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if _, err := a.known(all); err != nil {
		return nil, err
	}
	gone := make(map[string]bool) // digests
	for _, name := range a.replaces(all) {
		gone[name.Digest] = true
		p.out.Supersedes = append(p.out.Supersedes, name.Name)
	}
	docs, err := f.references.documents(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if p.now, err = reference.Build(docs.Documents); err != nil {
		return nil, err
	}
	if err := a.join(&docs); err != nil {
		return nil, err
	}
	if p.overlap, err = reference.Build(docs.Documents); err != nil {
		return nil, err
	}
	retire(&docs, gone)
	p.after, err = reference.Build(docs.Documents)
	return p, err
}

// tried is accept for a dry run: a manifest that nobody signed yet is taken as if its vendor had.
func (f *Fleet) tried(ctx context.Context, tenant string, document []byte, now time.Time) (*accepted, []string, error) {
	m, err := manifest.Decode(document)
	if err != nil {
		a, err := f.accept(ctx, tenant, document, "", now)
		return a, nil, err
	}
	digest := sha256.Sum256(document)
	k := &store.VendorKey{Name: m.Vendor, Role: roles[0], Vendors: []string{"*"}, Models: []string{"*"}}
	from := later(now, m.NotBefore)
	if !m.NotAfter.IsZero() && !from.Before(m.NotAfter) {
		return nil, nil, refuse("manifest %q has expired: it was valid until %s", m.ID, m.NotAfter.Format(time.RFC3339))
	}
	return &accepted{manifest: m, key: k, stored: store.Manifest{
		Tenant: tenant, Digest: hex.EncodeToString(digest[:]), Name: m.ID, Vendor: m.Vendor, Model: m.Model, Version: m.Version,
		Advisory: m.Advisory, Submitted: now, From: from,
	}}, []string{"the manifest is not signed; it is taken as if a key of its vendor had signed it"}, nil
}

// replaces returns the manifests that the new one supersedes or withdraws, now or after an overlap.
func (a *accepted) replaces(all []store.Manifest) (out []store.Manifest) {
	changes, _ := a.effects(all, nil, a.stored.Submitted)
	for _, c := range changes {
		out = append(out, find(all, c.Digest))
	}
	return out
}

// join puts the manifest into d as it would be if it were submitted: it adds its endorser where the content is there
// already.
func (a *accepted) join(d *documents) error {
	m := a.manifest
	if m.IsDenyList() {
		d.Denied = append(slices.Clone(d.Denied), reference.DenyList{
			Advisory: m.Advisory, Issuer: a.key.Name, Vendor: m.Vendor, Model: m.Model, Entries: m.Denied,
		})
		return nil
	}
	content, err := d.Table.Prepare(m)
	if err != nil {
		return err
	}
	r := reference.Release{
		Content: content, Endorsers: []reference.Endorser{{Issuer: a.key.Name, Role: reference.Role(a.key.Role), KeyID: a.key.ID}},
		From: a.stored.From, State: string(store.ManifestActive),
	}
	d.Releases, d.digests = slices.Clone(d.Releases), slices.Clone(d.digests)
	if i := slices.Index(d.digests, a.stored.Digest); i >= 0 {
		r = d.Releases[i]
		r.Endorsers = append(slices.Clone(r.Endorsers), reference.Endorser{Issuer: a.key.Name, Role: reference.Role(a.key.Role), KeyID: a.key.ID})
		d.Releases[i] = r
		return nil
	}
	d.Releases, d.digests = append(d.Releases, r), append(d.digests, a.stored.Digest)
	return nil
}

// retire moves releases from those that count to those that are past.
func retire(d *documents, gone map[string]bool) {
	var left []reference.Release
	past := slices.Clone(d.Past)
	for i, r := range d.Releases {
		if gone[d.digests[i]] {
			r.State = string(store.ManifestSuperseded)
			past = append(past, r)
		} else {
			left = append(left, r)
		}
	}
	d.Releases, d.Past = left, past
}

// dryRun appraises every device of the model, a page at a time.
func (f *Fleet) dryRun(ctx context.Context, p *dryRunPlan, report func(Progress)) (DryRun, error) {
	out := p.out
	out.Now, out.Overlap, out.After = make(map[result.State]int), make(map[result.State]int), make(map[result.State]int)
	total, err := f.countDevices(ctx, p.tenant, out.Vendor, out.Model)
	if err != nil {
		return DryRun{}, err
	}
	done := 0
	report(Progress{0, total})
	err = f.eachDevice(ctx, p.tenant, out.Vendor, out.Model, func(d *store.Device) error {
		one, err := f.dryRunDevice(ctx, p, d)
		if err != nil {
			return err
		}
		switch {
		case one.Problem != "":
			out.Unjudged++
		default:
			out.Devices++
			out.Now[one.Now]++
			out.Overlap[one.Overlap]++
			out.After[one.After]++
		}
		if changed := one.Problem != "" || one.Now != one.After || one.Now != one.Overlap || len(one.Came)+len(one.Went) > 0; changed {
			if len(out.Changes) < maxListed {
				out.Changes = append(out.Changes, one)
			} else {
				out.Left++
			}
		}
		done++
		report(Progress{done, max(total, done)})
		return nil
	})
	if err != nil {
		return DryRun{}, err
	}
	return out, nil
}

// eachDevice calls visit for the active devices of a vendor's model, or of all models or vendors where they are empty.
func (f *Fleet) eachDevice(ctx context.Context, tenant, vendor, model string, visit func(*store.Device) error) error {
	for after := ""; ; {
		page, err := f.cfg.Store.Devices(ctx, store.Filter{
			Tenant: tenant, Status: store.Active, Now: f.cfg.Now(), After: after, Limit: devicePage,
		})
		if err != nil {
			return err
		}
		for i := range page {
			d := &page[i]
			after = d.ID
			if vendor != "" && fold(d.Vendor) != fold(vendor) || model != "" && fold(d.Model) != fold(model) {
				continue
			}
			if err := visit(d); err != nil {
				return err
			}
		}
		if len(page) < devicePage {
			return nil
		}
	}
}

func (f *Fleet) countDevices(ctx context.Context, tenant, vendor, model string) (n int, err error) {
	err = f.eachDevice(ctx, tenant, vendor, model, func(*store.Device) error {
		n++
		return nil
	})
	return n, err
}

// dryRunDevice appraises one device's newest evidence three times.
func (f *Fleet) dryRunDevice(ctx context.Context, p *dryRunPlan, d *store.Device) (DryRunDevice, error) {
	out := DryRunDevice{ID: d.ID, Label: d.Label}
	e, err := f.newest(ctx, d)
	var none *RefusedError
	if errors.As(err, &none) {
		out.Problem = none.Reason
		return out, nil
	}
	if err != nil {
		return out, err
	}
	in, err := f.policies.of(ctx, d)
	if err != nil {
		return out, err
	}
	var results [3]result.Result
	for i, set := range []*reference.Set{p.now, p.overlap, p.after} {
		at := p.at
		if i == 0 {
			at = f.cfg.Now()
		}
		r, err := e.appraise(ctx, set, in, at, p.memo[i])
		if err != nil {
			if ctx.Err() != nil || e.failed != nil {
				return out, errors.Join(e.failed, err)
			}
			out.Problem = clean(err.Error(), maxDetail)
			return out, nil
		}
		results[i] = r
	}
	out.Now, out.Overlap, out.After = results[0].State, results[1].State, results[2].State
	out.Came, out.Went = findingsBut(results[2], results[0]), findingsBut(results[0], results[2])
	return out, nil
}

// findingsBut returns the findings of a that b doesn't have.
func findingsBut(a, b result.Result) (out []result.Finding) {
	for _, x := range a.Findings {
		same := func(y result.Finding) bool {
			return x.Code == y.Code && x.Severity == y.Severity && x.Component == y.Component && x.Observed == y.Observed
		}
		if !slices.ContainsFunc(b.Findings, same) && len(out) < maxDryFindings {
			out = append(out, x)
		}
	}
	return out
}
