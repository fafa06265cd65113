package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Policy is one version of a tenant's policy document. Versions are never changed or deleted: results name them.
type Policy struct {
	Tenant   string
	Version  int64  // from 1, without gaps
	Name     string // that the document gives itself
	Document []byte // YAML
	Digest   string // SHA-256 of Document, hexadecimal
	Author   string // who set it
	Created  time.Time
}

// Policies keeps policy documents. The newest version is the one in force.
type Policies interface {
	// Policy returns one version, the newest for 0. Where there is none it is ErrNotFound.
	Policy(ctx context.Context, tenant string, version int64) (Policy, error)
	// Policies returns versions without their documents, newest first, older than before (0: from the newest).
	Policies(ctx context.Context, tenant string, before int64, limit int) ([]Policy, error)
	// AddPolicy adds the version that follows the newest; another one is ErrConflict.
	AddPolicy(ctx context.Context, p Policy, events ...Event) error
}

// Check reports what keeps p from being stored.
func (p *Policy) Check() error {
	switch {
	case p.Tenant == "" || p.Name == "" || p.Digest == "":
		return fmt.Errorf("%w policy: want tenant, name and digest, got %q, %q and %q", ErrInvalid, p.Tenant, p.Name, p.Digest)
	case p.Version < 1:
		return fmt.Errorf("%w policy: version %d, want at least 1", ErrInvalid, p.Version)
	case len(p.Document) == 0:
		return fmt.Errorf("%w policy: no document", ErrInvalid)
	}
	return errors.Join(checkText("policy", p.Tenant), checkText("policy", p.Name), checkText("policy", p.Digest),
		checkText("policy", p.Author))
}
