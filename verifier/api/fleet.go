package api

import (
	"context"

	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/store"
)

// Fleet is what the API needs of the part of the verifier that leads devices; *fleet.Fleet is one. Every method but
// Attest records an event that names actor. Errors wrap store.ErrNotFound and store.ErrConflict where they apply; an
// error that has a method Refused() string says in words for an operator what stands in the way, and the client gets
// these words. Of other errors the client learns nothing.
type Fleet interface {
	// Attest challenges a device now, or is refused.
	Attest(ctx context.Context, tenant, id string) error
	// Approve lets a pending device in, or one that has this full id when it comes.
	Approve(ctx context.Context, tenant, id, actor string) (store.Device, error)
	// Remove forgets a device and ends its credentials.
	Remove(ctx context.Context, tenant, id, actor string) error
	// CreateBaseline makes reference values of what a device last attested. A name that is taken is store.ErrConflict.
	CreateBaseline(ctx context.Context, tenant string, spec fleet.BaselineSpec, actor string) (fleet.NewBaseline, error)
	// RetireReference takes reference values out of force.
	RetireReference(ctx context.Context, tenant, name, actor string) error
	Publications
	Overview
	Details
	Finder
	Consents
	// Policy returns a version of the policy document, for 0 the one in force.
	Policy(ctx context.Context, tenant string, version int64) (fleet.Policy, error)
	// SetPolicy puts a document in force after the version named; another one in force is store.ErrConflict, a document
	// that is wrong a *policy.Error.
	SetPolicy(ctx context.Context, tenant string, text []byte, after int64, actor string) (fleet.Policy, error)
	// TestPolicy says what a document would change; one that is wrong is a *policy.Error. It records nothing.
	TestPolicy(ctx context.Context, tenant string, text []byte, spec fleet.PolicyTestSpec) (fleet.PolicyTest, error)
	// AskCapture asks a device for raw bytes of its flash memory, or is refused.
	AskCapture(ctx context.Context, tenant string, spec fleet.CaptureSpec, actor string) (store.Capture, error)
	// RemoveCapture deletes a capture with its bytes; the event says why.
	RemoveCapture(ctx context.Context, tenant, device string, seq int64, why, actor string) error
}

var _ Fleet = (*fleet.Fleet)(nil)

// refusal is an error whose words are meant for the client.
type refusal interface{ Refused() string }
