package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"

	"github.com/probity-attest/probity/verifier/store"
)

// baseAbove is the number of digests from which on a content is stored as its difference from another one of its group.
const baseAbove = 64

// current is what a device is known to have.
type current struct {
	row     int64
	content [32]byte
	kind    string
	boot    string
}

// Indexed reports whether the digests of a content are known.
func (s *Store) Indexed(ctx context.Context, content [32]byte) (bool, error) {
	var row int64
	err := s.readRow(ctx, "look up content", `SELECT row FROM indexed WHERE content = ?`, []any{content[:]}, &row)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// sightings is what an outcome changes of what its device is known to have.
type sightings struct {
	came []*store.Seen
	gone []int64 // rows of seen
	boot string
	at   int64
}

// compare finds out what an outcome changes. It reads outside of the transaction: only Record changes what a device
// has, and an outcome whose device changed meanwhile is not recorded. A steady-state report changes nothing.
func (s *Store) compare(ctx context.Context, o *store.Outcome) (*sightings, error) {
	if len(o.Seen) == 0 {
		return nil, nil
	}
	out := &sightings{boot: o.Result.BootID, at: micros(o.Result.At)}
	kinds, has := make(map[string]bool), make(map[[32]byte]bool)
	for i := range o.Seen {
		kinds[o.Seen[i].Kind] = true
	}
	now := make(map[[32]byte]bool)
	for i := range o.Seen {
		now[o.Seen[i].Content] = true
	}
	err := s.readRows(ctx, "read sightings", `SELECT s.row, i.content, i.kind, s.boot FROM seen s JOIN indexed i ON i.row = s.indexed
		WHERE s.device = (SELECT row FROM devices WHERE tenant = ? AND id = ?) AND s.until = 0`,
		[]any{o.Device.Tenant, o.Device.ID}, func(rows *sql.Rows) error {
			var c current
			if err := rows.Scan(&c.row, sum{&c.content}, &c.kind, &c.boot); err != nil {
				return err
			}
			sameBoot := c.boot == out.boot
			switch {
			case now[c.content] && (sameBoot || c.kind != store.SeenFiles):
				has[c.content] = true
			case now[c.content]:
			case c.kind == store.SeenFiles && sameBoot: // an earlier part of the list of this boot
			case c.kind == store.SeenFiles, kinds[c.kind]:
				out.gone = append(out.gone, c.row)
			}
			return nil
		})
	if err != nil {
		return nil, err
	}
	for i := range o.Seen {
		if !has[o.Seen[i].Content] {
			out.came = append(out.came, &o.Seen[i])
		}
	}
	if len(out.came)+len(out.gone) == 0 {
		return nil, nil
	}
	return out, nil
}

// see writes what changed.
func (t *tx) see(d *store.Device, changed *sightings) error {
	if changed == nil {
		return nil
	}
	for _, row := range changed.gone {
		if _, err := t.exec(`UPDATE seen SET until = ? WHERE row = ?`, changed.at, row); err != nil {
			return err
		}
	}
	for _, c := range changed.came {
		row, err := t.index(c)
		if err != nil {
			return err
		}
		if err := t.exec1(`INSERT INTO seen (device, indexed, boot, first, until, tenant) SELECT row, ?, ?, ?, 0, tenant FROM devices
			WHERE tenant = ? AND id = ? ON CONFLICT DO UPDATE SET boot = excluded.boot, until = 0`,
			row, changed.boot, changed.at, d.Tenant, d.ID); err != nil {
			return err
		}
	}
	return nil
}

// index returns the row of a content, whose digests it stores where they are not known.
func (t *tx) index(c *store.Seen) (row int64, err error) {
	find := func() error { return t.row(`SELECT row FROM indexed WHERE content = ?`, []any{c.Content[:]}, &row) }
	if err = find(); !errors.Is(err, sql.ErrNoRows) {
		return row, err
	}
	digests := make(map[string]string, len(c.Digests)) // place
	for _, d := range c.Digests {
		if _, twice := digests[string(d.Digest)]; !twice {
			digests[string(d.Digest)] = d.Place
		}
	}
	base, lacks, err := t.base(c, digests)
	if err != nil {
		return 0, err
	}
	if err := t.exec1(`INSERT INTO indexed (content, kind, grouping, base) VALUES (?, ?, ?, ?)`, c.Content[:], c.Kind, c.Group, base); err != nil {
		return 0, err
	}
	if err := find(); err != nil {
		return 0, err
	}
	const insert = `INSERT INTO indexed_digests (digest, indexed, lacks, place) VALUES (?, ?, ?, ?)`
	for _, digest := range lacks {
		if err := t.exec1(insert, []byte(digest), row, 1, ""); err != nil {
			return 0, err
		}
	}
	for digest, place := range digests {
		if err := t.exec1(insert, []byte(digest), row, 0, place); err != nil {
			return 0, err
		}
	}
	return row, t.indexGUIDs(row, c.GUIDs)
}

// base returns the content of the group that c is stored as the difference from, nil if there is none that is near. It
// removes what the base has from digests; lacks are those that only the base has.
func (t *tx) base(c *store.Seen, digests map[string]string) (base any, lacks []string, err error) {
	if len(digests) < baseAbove {
		return nil, nil, nil
	}
	var row int64
	err = t.row(`SELECT row FROM indexed WHERE kind = ? AND grouping = ? AND base IS NULL ORDER BY row DESC LIMIT 1`,
		[]any{c.Kind, c.Group}, &row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var both []string
	if err := t.each(`SELECT digest FROM indexed_digests WHERE indexed = ?`, []any{row}, func(rows *sql.Rows) error {
		var digest []byte
		err := rows.Scan(&digest)
		if _, ok := digests[string(digest)]; ok {
			both = append(both, string(digest))
		} else {
			lacks = append(lacks, string(digest))
		}
		return err
	}); err != nil {
		return nil, nil, err
	}
	if len(digests)-len(both)+len(lacks) > len(digests)/2 {
		return nil, nil, nil
	}
	for _, digest := range both {
		delete(digests, digest)
	}
	return row, lacks, nil
}

// each calls scan for each row of query.
func (t *tx) each(query string, args []any, scan func(*sql.Rows) error) error {
	st, err := t.w.statement(query)
	if err != nil {
		return err
	}
	rows, err := st.Query(args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Sightings returns the sightings of a digest in a tenant in ascending Seq, after the one given. Of each content that has
// the digest it reads one page at most: an index has its sightings in this order.
func (s *Store) Sightings(ctx context.Context, tenant string, digest []byte, after int64, limit int) (out []store.Sighting, err error) {
	h := &holders{of: make(map[int64]*holder)}
	if err := s.holdingDigest(ctx, h, digest); err != nil {
		return nil, err
	}
	limit = store.PageSize(limit)
	last := int64(math.MaxInt64) // of the page, once it is full
	for _, x := range h.sorted() {
		err := s.readRows(ctx, "read sightings", `SELECT s.row, d.id, d.label, i.kind, ?, i.content, s.first, s.until
			FROM seen s INDEXED BY seen_of CROSS JOIN devices d ON d.row = s.device CROSS JOIN indexed i ON i.row = s.indexed
			WHERE s.indexed = ? AND s.tenant = ? AND s.row > ? AND s.row < ? ORDER BY s.row LIMIT ?`,
			[]any{x.place, x.row, tenant, after, last, limit}, appendTo(&out, scanSighting))
		if err != nil {
			return nil, err
		}
		if len(out) >= limit {
			slices.SortFunc(out, func(a, b store.Sighting) int { return cmp.Compare(a.Seq, b.Seq) })
			out = out[:limit]
			last = out[limit-1].Seq
		}
	}
	slices.SortFunc(out, func(a, b store.Sighting) int { return cmp.Compare(a.Seq, b.Seq) })
	return out, nil
}

// SightingsOf returns what a device has now, in the order in which it was first seen.
func (s *Store) SightingsOf(ctx context.Context, tenant, device string) ([]store.Sighting, error) {
	return readList(ctx, s, "read sightings", `SELECT s.row, d.id, d.label, i.kind, '', i.content, s.first, s.until
		FROM devices d JOIN seen s ON s.device = d.row JOIN indexed i ON i.row = s.indexed
		WHERE d.tenant = ? AND d.id = ? AND s.until = 0 ORDER BY s.row`, []any{tenant, device}, scanSighting)
}

func scanSighting(rows *sql.Rows, x *store.Sighting) error {
	return rows.Scan(&x.Seq, &x.Device, &x.Label, &x.Kind, &x.Place, sum{&x.Content}, clock{&x.First}, clock{&x.Until})
}

// sum scans a stored SHA-256 digest.
type sum struct{ of *[32]byte }

// Scan implements sql.Scanner.
func (s sum) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || len(b) != len(s.of) {
		return errors.New("stored digest: want 32 bytes")
	}
	copy(s.of[:], b)
	return nil
}
