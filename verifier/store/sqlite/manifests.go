package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// Manifests returns all of a tenant in ascending vendor and name.
func (s *Store) Manifests(ctx context.Context, tenant string) (out []store.Manifest, err error) {
	// One statement is one state of the database: a manifest and its endorsements fit each other.
	err = s.readRows(ctx, "read manifests", `SELECT m.row, m.digest, m.vendor, m.name, m.model, m.version, m.advisory, m.begins, m.ends,
			m.size, m.submitted, m.counts_from, m.counts_until, m.superseded_by, m.withdrawn, m.reason, m.proof,
			m.needs, m.overlap, (SELECT count(*) FROM approvals a WHERE a.manifest = m.row), e.key, e.issuer, e.submitted, e.judged, e.begins, e.ends, e.actor
		FROM manifests m JOIN endorsements e ON e.manifest = m.row
		WHERE m.tenant = ? ORDER BY m.vendor, m.name, m.row, e.row`, []any{tenant}, manifestScanner(tenant, &out))
	if err != nil {
		return nil, err
	}
	return out, nil
}

func manifestScanner(tenant string, out *[]store.Manifest) func(*sql.Rows) error {
	last := int64(0)
	return func(rows *sql.Rows) error {
		m := store.Manifest{Tenant: tenant}
		var e store.Endorsement
		var row, overlap int64
		if err := rows.Scan(&row, &m.Digest, &m.Vendor, &m.Name, &m.Model, &m.Version, &m.Advisory, clock{&m.Begins}, clock{&m.Ends},
			&m.Size, clock{&m.Submitted}, clock{&m.From}, clock{&m.Until}, &m.SupersededBy, clock{&m.Withdrawn}, &m.Reason, &m.Proof,
			&m.Needs, &overlap, &m.Approved, &e.Key, &e.Issuer, clock{&e.Submitted}, clock{&e.Judged}, clock{&e.Begins}, clock{&e.Ends}, &e.Actor); err != nil {
			return err
		}
		if overlap >= 0 {
			d := time.Duration(overlap) * time.Microsecond
			m.Overlap = &d
		}
		if row != last {
			*out, last = append(*out, m), row
		}
		newest := &(*out)[len(*out)-1]
		newest.Endorsements = append(newest.Endorsements, e)
		return nil
	}
}

// ManifestDocument returns the COSE_Sign1 of one endorsement.
func (s *Store) ManifestDocument(ctx context.Context, tenant, digest, key string) (document []byte, err error) {
	err = s.readRow(ctx, "read manifest", `SELECT e.document FROM manifests m JOIN endorsements e ON e.manifest = m.row
		WHERE m.tenant = ? AND m.digest = ? AND e.key = ?`, []any{tenant, digest, key}, &document)
	return document, err
}

// AddManifest adds a manifest or an endorsement of one, and applies changes to others.
func (s *Store) AddManifest(ctx context.Context, m store.Manifest, document []byte, changes []store.ManifestChange, events ...store.Event) error {
	if err := m.Check(); err != nil {
		return err
	}
	return s.writeWithEvents(ctx, "add manifest", m.Tenant, events, func(t *tx) error {
		row, err := t.manifest(&m)
		if err != nil {
			return err
		}
		e := &m.Endorsements[0]
		if err := t.exec1(`INSERT INTO endorsements (manifest, key, issuer, submitted, judged, begins, ends, actor, document)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET issuer = excluded.issuer, submitted = excluded.submitted,
				judged = excluded.judged, begins = excluded.begins, ends = excluded.ends, actor = excluded.actor,
				document = excluded.document`, row, e.Key, e.Issuer, micros(e.Submitted), micros(e.Judged), micros(e.Begins),
			micros(e.Ends), e.Actor, nonNil(document)); err != nil {
			return err
		}
		if len(m.Proof) > 0 {
			if err := t.exec1(`UPDATE manifests SET proof = ? WHERE row = ?`, m.Proof, row); err != nil {
				return err
			}
		}
		return t.changeManifests(m.Tenant, changes)
	})
}

// manifest returns the row of m, which it inserts where there is none.
func (t *tx) manifest(m *store.Manifest) (row int64, err error) {
	find := func() error {
		return t.row(`SELECT row FROM manifests WHERE tenant = ? AND digest = ?`, []any{m.Tenant, m.Digest}, &row)
	}
	if err = find(); !errors.Is(err, sql.ErrNoRows) {
		return row, err
	}
	overlap := int64(-1)
	if m.Overlap != nil {
		overlap = m.Overlap.Microseconds()
	}
	err = t.exec1(`INSERT INTO manifests (tenant, digest, vendor, name, model, version, advisory, begins, ends, size, submitted,
			counts_from, counts_until, superseded_by, withdrawn, reason, needs, overlap)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		m.Tenant, m.Digest, m.Vendor, m.Name, m.Model, m.Version, m.Advisory, micros(m.Begins), micros(m.Ends), m.Size,
		micros(m.Submitted), micros(m.From), micros(m.Until), m.SupersededBy, micros(m.Withdrawn), m.Reason,
		m.Needs, overlap)
	if constraint(err) {
		return 0, fmt.Errorf("%q of %q exists with another content: %w", m.Name, m.Vendor, store.ErrConflict)
	}
	if err != nil {
		return 0, err
	}
	return row, find()
}

// ChangeManifests applies changes, all or none.
func (s *Store) ChangeManifests(ctx context.Context, tenant string, changes []store.ManifestChange, events ...store.Event) error {
	return s.writeWithEvents(ctx, "change manifests", tenant, events, func(t *tx) error {
		return t.changeManifests(tenant, changes)
	})
}

func (t *tx) changeManifests(tenant string, changes []store.ManifestChange) error {
	for _, c := range changes {
		if err := t.execOr(fmt.Errorf("manifest %s: %w", c.Digest, store.ErrNotFound), `UPDATE manifests SET
				superseded_by = CASE WHEN ?1 = '' THEN superseded_by ELSE ?1 END,
				counts_until = CASE WHEN ?2 = 0 THEN counts_until ELSE ?2 END,
				reason = CASE WHEN ?3 = 0 OR withdrawn <> 0 THEN reason ELSE ?4 END,
				withdrawn = CASE WHEN ?3 = 0 OR withdrawn <> 0 THEN withdrawn ELSE ?3 END
			WHERE tenant = ?5 AND digest = ?6`,
			c.SupersededBy, micros(c.Until), micros(c.Withdrawn), c.Reason, tenant, c.Digest); err != nil {
			return err
		}
	}
	return nil
}
