package api

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/store"
)

// Publications is what the API needs of the part of the fleet that deals with manifests, deny-lists and who may sign
// them. It is a part of Fleet: events and errors are as there.
type Publications interface {
	// AddVendorKey lets a key sign manifests.
	AddVendorKey(ctx context.Context, tenant string, spec fleet.VendorKeySpec, actor string) (store.VendorKey, error)
	// ScopeVendorKey changes what a key may sign. The key is named by its id, the start of it, or its holder.
	ScopeVendorKey(ctx context.Context, tenant, key string, scope fleet.KeyScope, actor string) (store.VendorKey, error)
	// RevokeVendorKey voids what a key signed from a time on; the zero time is now.
	RevokeVendorKey(ctx context.Context, tenant, key string, at time.Time, reason, actor string) (store.VendorKey, error)

	// SubmitManifest accepts a signed manifest or deny-list.
	SubmitManifest(ctx context.Context, tenant string, s fleet.Submission, actor string) (store.Manifest, error)
	// Manifests returns all manifests; ManifestStatus the one that is named by its id or digest.
	Manifests(ctx context.Context, tenant string) ([]fleet.ManifestStatus, error)
	ManifestStatus(ctx context.Context, tenant, name string) (fleet.ManifestStatus, error)
	// WithdrawManifest takes one out of force for ever.
	WithdrawManifest(ctx context.Context, tenant, name, reason, actor string) (store.Manifest, error)
	// SupersedeManifest lets newer take the place of older after an overlap.
	SupersedeManifest(ctx context.Context, tenant, older, newer string, overlap time.Duration, actor string) (store.Manifest, error)
	// StartDryRun begins to find out what a manifest would change, DryRunState says how far it is.
	StartDryRun(ctx context.Context, tenant string, document []byte) (string, error)
	DryRunState(tenant, id string) (fleet.DryRun, fleet.Progress, bool, error)

	// DenyList returns the entries in force, Deny adds one, Undeny removes one of an operator.
	DenyList(ctx context.Context, tenant string) ([]fleet.DeniedEntry, error)
	Deny(ctx context.Context, tenant string, spec fleet.DenialSpec, actor string) (store.Denial, error)
	Undeny(ctx context.Context, tenant, digest, actor string) error

	// StartOutliers begins to look for devices that differ from their like, OutliersState says how far it is.
	StartOutliers(ctx context.Context, tenant string, spec fleet.OutlierSpec) (string, error)
	OutliersState(tenant, id string) (fleet.Outliers, fleet.Progress, bool, error)

	// RequiresLogProof reports whether manifests are accepted only with a log proof, RequireLogProof says so.
	RequiresLogProof(ctx context.Context, tenant string) (bool, error)
	RequireLogProof(ctx context.Context, tenant string, on bool, actor string) error
}

type newVendorKey struct{ Body v1.NewVendorKey }

type scopeKey struct {
	ID   string `path:"id" maxLength:"512" doc:"id of the key, its first characters (at least 8), or the holder of a single one"`
	Body v1.KeyScope
}

type revokeKey struct {
	ID   string `path:"id" maxLength:"512" doc:"id of the key, its first characters (at least 8), or the holder of a single one"`
	Body v1.KeyRevocation
}

type patchSettings struct{ Body v1.SettingsPatch }

func (s *server) registerVendors(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-vendor-keys", Method: http.MethodGet, Path: "/v1/vendors",
		Summary: "List the keys that may sign manifests, revoked ones included",
	}, s.vendorKeys)
	register(s, doc, huma.Operation{
		OperationID: "add-vendor-key", Method: http.MethodPost, Path: "/v1/vendors", Summary: "Let a key sign manifests",
		DefaultStatus: http.StatusCreated,
	}, s.addVendorKey)
	register(s, doc, huma.Operation{
		OperationID: "scope-vendor-key", Method: http.MethodPut, Path: "/v1/vendors/{id}/scope", Summary: "Change what a key may sign",
	}, s.scopeVendorKey)
	register(s, doc, huma.Operation{
		OperationID: "revoke-vendor-key", Method: http.MethodPost, Path: "/v1/vendors/{id}/revoke",
		Summary: "Void what a key signed from a time on, which may be past",
	}, s.revokeVendorKey)
	register(s, doc, huma.Operation{
		OperationID: "get-settings", Method: http.MethodGet, Path: "/v1/settings", Summary: "Show what operators chose",
	}, s.settings)
	register(s, doc, huma.Operation{
		OperationID: "change-settings", Method: http.MethodPatch, Path: "/v1/settings", Summary: "Change settings",
	}, s.changeSettings)
}

func (s *server) vendorKeys(ctx context.Context, p principal, _ *empty) (*body[v1.VendorKeys], error) {
	found, err := s.Store.VendorKeys(ctx, p.tenant)
	if err != nil {
		return nil, fmt.Errorf("list vendor keys: %w", err)
	}
	out := v1.VendorKeys{Keys: []v1.VendorKey{}}
	for i := range found {
		out.Keys = append(out.Keys, vendorKeyDocument(&found[i]))
	}
	return &body[v1.VendorKeys]{out}, nil
}

func (s *server) addVendorKey(ctx context.Context, p principal, in *newVendorKey) (*body[v1.VendorKey], error) {
	k, err := s.Fleet.AddVendorKey(ctx, p.tenant, fleet.VendorKeySpec{
		Name: in.Body.Name, Role: in.Body.Role, Public: []byte(in.Body.Public), KeyScope: keyScope(&in.Body.Scope),
	}, p.actor())
	return vendorKeyAnswer(k, err)
}

func (s *server) scopeVendorKey(ctx context.Context, p principal, in *scopeKey) (*body[v1.VendorKey], error) {
	k, err := s.Fleet.ScopeVendorKey(ctx, p.tenant, in.ID, keyScope(&in.Body), p.actor())
	return vendorKeyAnswer(k, err)
}

func (s *server) revokeVendorKey(ctx context.Context, p principal, in *revokeKey) (*body[v1.VendorKey], error) {
	k, err := s.Fleet.RevokeVendorKey(ctx, p.tenant, in.ID, timeOf(in.Body.At), in.Body.Reason, p.actor())
	return vendorKeyAnswer(k, err)
}

func vendorKeyAnswer(k store.VendorKey, err error) (*body[v1.VendorKey], error) {
	if err != nil {
		return nil, err
	}
	return &body[v1.VendorKey]{vendorKeyDocument(&k)}, nil
}

func keyScope(in *v1.KeyScope) fleet.KeyScope {
	return fleet.KeyScope{Vendors: in.Vendors, Models: in.Models, From: timeOf(in.From), Until: timeOf(in.Until)}
}

// timeOf is the inverse of moment.
func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func vendorKeyDocument(k *store.VendorKey) v1.VendorKey {
	return v1.VendorKey{
		ID: k.ID, Name: k.Name, Role: k.Role, Public: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.Public})),
		Vendors: k.Vendors, Models: k.Models, From: moment(k.From), Until: moment(k.Until), Added: k.Added.UTC(),
		Revoked: moment(k.Revoked), Reason: k.Reason,
	}
}

func (s *server) settings(ctx context.Context, p principal, _ *empty) (*body[v1.Settings], error) {
	on, err := s.Fleet.RequiresLogProof(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	n, err := s.Fleet.ManifestApprovals(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	return &body[v1.Settings]{v1.Settings{RequireLogProof: on, ManifestApprovals: n}}, nil
}

func (s *server) changeSettings(ctx context.Context, p principal, in *patchSettings) (*body[v1.Settings], error) {
	if on := in.Body.RequireLogProof; on != nil {
		if err := s.Fleet.RequireLogProof(ctx, p.tenant, *on, p.actor()); err != nil {
			return nil, err
		}
	}
	if n := in.Body.ManifestApprovals; n != nil {
		if err := s.Fleet.SetManifestApprovals(ctx, p.tenant, *n, p.actor()); err != nil {
			return nil, err
		}
	}
	return s.settings(ctx, p, nil)
}
