package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/store"
)

// Submission is a signed manifest or deny-list, as somebody hands it in.
type Submission struct {
	Signed []byte // COSE_Sign1
	Proof  []byte // of its inclusion in a transparency log; nil: none
	// Overlap, where set, is how long the manifests that this one supersedes stay valid from now on, whatever it says
	// itself.
	Overlap *time.Duration
}

// accepted is a submission that may be stored.
type accepted struct {
	manifest *manifest.Manifest
	stored   store.Manifest // with its one endorsement
	key      *store.VendorKey
}

// SubmitManifest accepts a manifest or deny-list, or one more signature of it. The checks, in order: everything that
// manifest.Open checks, with a key that is known, not revoked and valid now; vendor and model are in the key's scope;
// the tenant's demand for a log proof; no other content has its name; it was not withdrawn. What is refused changes
// nothing.
//
// A manifest that begins within the time that Config.ManifestAhead allows is accepted and counts from then on. The same
// content by the same key again is no error and changes nothing, unless the new signature lasts longer. What it
// supersedes takes effect when a vendor's key signs it, what it withdraws with any key; where the tenant wants people's
// consent, all of that when it is complete: see ApproveManifest.
func (f *Fleet) SubmitManifest(ctx context.Context, tenant string, s Submission, actor string) (store.Manifest, error) {
	now := f.cfg.Now().UTC()
	a, err := f.accept(ctx, tenant, s.Signed, actor, now)
	if err != nil {
		return store.Manifest{}, err
	}
	if err := f.checkProof(ctx, tenant, s.Proof); err != nil {
		return store.Manifest{}, err
	}
	a.stored.Proof = s.Proof
	all, err := f.cfg.Store.Manifests(ctx, tenant)
	if err != nil {
		return store.Manifest{}, err
	}
	known, err := a.known(all)
	if err != nil {
		return store.Manifest{}, err
	}
	awaits, err := f.await(ctx, tenant, a, all, known, s.Overlap)
	if err != nil {
		return store.Manifest{}, err
	}
	var changes []store.ManifestChange
	var names []string
	if awaits == 0 {
		changes, names = a.effects(all, s.Overlap, now)
	}
	if known && len(changes) == 0 && a.repeats(all) {
		return find(all, a.stored.Digest), nil
	}
	kind := "manifest-submitted"
	if a.manifest.IsDenyList() {
		kind = "deny-list-submitted"
	}
	detail := fmt.Sprintf("%s, signed by %s (%s, key %s), content sha256:%s", describeManifest(&a.stored), a.key.Name, a.key.Role,
		short(a.key.ID), a.stored.Digest)
	if awaits > 0 {
		detail += fmt.Sprintf("; it does not count until %d more people approve it", awaits)
	}
	events := []store.Event{f.event(tenant, "", kind, actor, clean(detail, maxDetail))}
	for _, n := range names {
		events = append(events, f.event(tenant, "", "manifest-changed", actor, clean(n, maxDetail)))
	}
	err = f.cfg.Store.AddManifest(ctx, a.stored, s.Signed, changes, events...)
	if errors.Is(err, store.ErrConflict) { // somebody was first: the name has another content by now
		return store.Manifest{}, refuse("%q of %q exists with another content: a changed manifest needs a new id", a.stored.Name, a.stored.Vendor)
	}
	if err != nil {
		return store.Manifest{}, err
	}
	if awaits > 0 {
		return f.Manifest(ctx, tenant, a.stored.Digest)
	}
	f.references.changed(tenant)
	f.askAgain(ctx, tenant, &a.stored)
	if a.manifest.IsDenyList() {
		f.ask(ctx, tenant, deniedDigests(a.manifest.Denied)...)
	}
	return f.Manifest(ctx, tenant, a.stored.Digest)
}

// await returns how many people's consent a submission still needs before it counts, and notes that in one that is new.
func (f *Fleet) await(ctx context.Context, tenant string, a *accepted, all []store.Manifest, known bool, overlap *time.Duration) (int, error) {
	if known {
		m := find(all, a.stored.Digest)
		return max(0, m.Needs-m.Approved), nil
	}
	n, err := f.ManifestApprovals(ctx, tenant)
	if err != nil || n == 0 {
		return 0, err
	}
	a.stored.Needs, a.stored.Overlap = n, overlap
	return n, nil
}

func find(all []store.Manifest, digest string) store.Manifest {
	for i := range all {
		if all[i].Digest == digest {
			return all[i]
		}
	}
	return store.Manifest{}
}

// describeManifest names a manifest for people.
func describeManifest(m *store.Manifest) string {
	if m.Advisory != "" {
		return fmt.Sprintf("deny-list %q (%s)", m.Name, m.Advisory)
	}
	return fmt.Sprintf("manifest %q (%s %s %s)", m.Name, m.Vendor, m.Model, m.Version)
}

// Manifest returns the manifest that has this digest (or the start of it, at least 8 characters) or this id. Vendors
// may use the same id: then it takes "vendor:id" or the digest.
func (f *Fleet) Manifest(ctx context.Context, tenant, name string) (store.Manifest, error) {
	all, err := f.cfg.Store.Manifests(ctx, tenant)
	if err != nil {
		return store.Manifest{}, err
	}
	var found []store.Manifest
	name = strings.TrimPrefix(name, "sha256:")
	for _, m := range all {
		if m.Digest == name {
			return m, nil
		}
		if m.Name == name || m.Vendor+":"+m.Name == name || len(name) >= minKeyPrefix && strings.HasPrefix(m.Digest, name) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return store.Manifest{}, fmt.Errorf("no manifest has this id or digest: %w", store.ErrNotFound)
	case 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i := range found {
		names[i] = fmt.Sprintf("%s:%s (sha256:%s)", found[i].Vendor, found[i].Name, short(found[i].Digest))
	}
	return store.Manifest{}, refuse("several manifests have this name: %s", clean(strings.Join(names, ", "), maxDetail))
}

// WithdrawManifest declares that a manifest or deny-list was wrong: nothing of it counts any more, and it does not come
// back.
func (f *Fleet) WithdrawManifest(ctx context.Context, tenant, name, reason, actor string) (store.Manifest, error) {
	m, err := f.Manifest(ctx, tenant, name)
	if err != nil {
		return store.Manifest{}, err
	}
	if !m.Withdrawn.IsZero() {
		return store.Manifest{}, refuse("%q was withdrawn at %s already", m.Name, m.Withdrawn.Format(time.RFC3339))
	}
	reason = clean(strings.TrimSpace(reason), maxDetail/2)
	if reason == "" {
		return store.Manifest{}, refuse("withdrawing wants a reason: others will ask")
	}
	c := store.ManifestChange{Digest: m.Digest, Withdrawn: store.Micro(f.cfg.Now()), Reason: reason}
	return f.changeManifest(ctx, tenant, &m, c, "manifest-withdrawn", actor, fmt.Sprintf("%s: %s", describeManifest(&m), reason))
}

// SupersedeManifest lets a manifest take the place of an older one of its vendor and model. Both are valid until the
// overlap is over; without one, the older ends at once.
func (f *Fleet) SupersedeManifest(ctx context.Context, tenant, older, newer string, overlap time.Duration, actor string) (store.Manifest, error) {
	from, err := f.Manifest(ctx, tenant, older)
	if err != nil {
		return store.Manifest{}, err
	}
	to, err := f.Manifest(ctx, tenant, newer)
	if err != nil {
		return store.Manifest{}, err
	}
	now := f.cfg.Now().UTC()
	switch {
	case from.Advisory != "" || to.Advisory != "":
		return store.Manifest{}, refuse("a deny-list supersedes nothing: withdraw it")
	case from.Digest == to.Digest:
		return store.Manifest{}, refuse("%q does not supersede itself", from.Name)
	case fold(from.Vendor) != fold(to.Vendor) || fold(from.Model) != fold(to.Model):
		return store.Manifest{}, refuse("%q is of %s %s, %q of %s %s: one supersedes another of the same model",
			from.Name, from.Vendor, from.Model, to.Name, to.Vendor, to.Model)
	case to.Awaits():
		return store.Manifest{}, refuse("%q awaits approval: it cannot take the place of another one yet", to.Name)
	case !from.Withdrawn.IsZero() || !to.Withdrawn.IsZero():
		return store.Manifest{}, refuse("one of both was withdrawn")
	case overlap < 0 || overlap > maxOverlap:
		return store.Manifest{}, refuse("overlap %s: want 0 to %s", overlap, maxOverlap)
	}
	if to.SupersededBy == from.Name {
		return store.Manifest{}, refuse("%q was superseded by %q", to.Name, from.Name)
	}
	until := store.Micro(later(now, to.From).Add(overlap))
	c := store.ManifestChange{Digest: from.Digest, SupersededBy: to.Name, Until: until}
	return f.changeManifest(ctx, tenant, &from, c, "manifest-superseded", actor,
		fmt.Sprintf("%s superseded by %q%s", describeManifest(&from), to.Name, validUntil(until)))
}

func (f *Fleet) changeManifest(ctx context.Context, tenant string, m *store.Manifest, c store.ManifestChange, kind, actor, detail string) (store.Manifest, error) {
	err := f.cfg.Store.ChangeManifests(ctx, tenant, []store.ManifestChange{c}, f.event(tenant, "", kind, actor, clean(detail, maxDetail)))
	if err != nil {
		return store.Manifest{}, err
	}
	f.references.changed(tenant)
	f.askAgain(ctx, tenant, m)
	return f.Manifest(ctx, tenant, m.Digest)
}

// askAgain asks the devices that a manifest is for to attest: what they are compared with has changed.
func (f *Fleet) askAgain(ctx context.Context, tenant string, m *store.Manifest) {
	if m.Model == "" {
		return
	}
	if err := f.askModel(ctx, tenant, m.Model); err != nil {
		f.log.Warn("devices of the model were not all asked to attest; they will with their next report", "error", err)
	}
}

// requireLogProof is the name of the choice.
const requireLogProof = "require-log-proof"

// RequiresLogProof reports whether a tenant accepts manifests only with a proof of their inclusion in a transparency
// log.
func (f *Fleet) RequiresLogProof(ctx context.Context, tenant string) (bool, error) {
	v, err := f.cfg.Store.Choice(ctx, tenant, requireLogProof)
	return v == "true", err
}

// RequireLogProof says whether a tenant accepts manifests only with a proof. Those that were accepted before stay.
func (f *Fleet) RequireLogProof(ctx context.Context, tenant string, on bool, actor string) error {
	value := fmt.Sprint(on)
	return f.cfg.Store.Choose(ctx, tenant, requireLogProof, value, f.event(tenant, "", "choice-changed", actor, requireLogProof+": "+value))
}

// checkProof refuses a manifest without a proof where the tenant demands one. This verifier knows no log yet, so there
// is no proof that it could check, and one that nobody checked proves nothing: where a proof is demanded, every
// manifest is refused. Where none is demanded it is kept as it came, and nothing is said of it.
func (f *Fleet) checkProof(ctx context.Context, tenant string, proof []byte) error {
	if len(proof) > maxProof {
		return refuse("log proof of %d bytes, at most %d allowed", len(proof), maxProof)
	}
	demanded, err := f.RequiresLogProof(ctx, tenant)
	if err != nil || !demanded {
		return err
	}
	if len(proof) == 0 {
		return refuse("this verifier accepts manifests only with a proof of their inclusion in a transparency log: submit it with one, " +
			"or have the operator set require-log-proof to false")
	}
	return refuse("the log proof cannot be checked, for this verifier knows no transparency log; a proof is demanded (require-log-proof), " +
		"so the manifest is not accepted")
}
