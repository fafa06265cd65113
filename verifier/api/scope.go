package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/probity-attest/probity/firmware/manifest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
)

// What a principal of the role vendor may know: manifests of the vendors in its scope, and of no other that it exists.
// All functions here let everybody else pass.

// speaksFor reports whether p may know of what a vendor publishes. Deny-lists without vendor are of scopes that fit
// everything.
func (p *principal) speaksFor(vendor string) bool {
	return p.role != v1.Vendor || fleet.Fits(p.vendors, vendor)
}

// own returns under which name p may speak of a manifest: for a vendor the digest of the one of its own that name means.
// A name that may be that of another vendor too is its own, and what it means elsewhere is not found out.
func (s *server) own(ctx context.Context, p *principal, name string) (string, error) {
	if p.role != v1.Vendor {
		return name, nil
	}
	all, err := s.Fleet.Manifests(ctx, p.tenant)
	if err != nil {
		return "", fmt.Errorf("list manifests: %w", err)
	}
	var found []string
	for i := range all {
		m := &all[i]
		named := m.Name == name || m.Vendor+":"+m.Name == name || len(name) >= minDigest && strings.HasPrefix(m.Digest, strings.ToLower(name))
		if named && p.speaksFor(m.Vendor) {
			found = append(found, m.Digest)
		}
	}
	switch len(found) {
	case 0:
		return "", problemf(http.StatusNotFound, "no manifest of your vendors has this id or digest")
	case 1:
		return found[0], nil
	}
	return "", problemf(http.StatusConflict, "%d manifests of your vendors have this id: name one by its digest", len(found))
}

// ownDocument refuses a document of a vendor for which p does not speak. What the document says of itself is not verified
// here: it decides only who may go on.
func ownDocument(p *principal, document []byte) error {
	if p.role != v1.Vendor {
		return nil
	}
	unsigned, _, err := manifest.Unverified(document)
	if err != nil {
		unsigned = document
	}
	m, err := manifest.Decode(unsigned)
	if err != nil {
		return problemf(http.StatusUnprocessableEntity, "this is no manifest that can be read: %s", clip(err.Error()))
	}
	if !p.speaksFor(m.Vendor) {
		return problemf(http.StatusForbidden, "the manifest is of the vendor %q, and you speak for %q", clip(m.Vendor), p.vendors)
	}
	return nil
}

// withoutDevices takes from the outcome of a dry run what a vendor may not see: which devices there are. Their number
// stays.
func (p *principal) withoutDevices(d *v1.DryRun) {
	if p.role != v1.Vendor {
		return
	}
	d.Left += len(d.Changes)
	d.Changes = nil
}
