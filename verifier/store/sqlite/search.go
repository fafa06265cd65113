package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/probity-attest/probity/verifier/store"
)

// Bounds of the work for one search.
const (
	maxPlaces    = 500    // places that a name fits
	maxHolding   = 5000   // contents that have what is looked for
	maxFromBase  = 16     // digests of one content that are looked for among those that are stored as its difference
	maxSeenScans = 20_000 // sightings that CountSeen looks at
)

// holder is a content that has something that is looked for.
type holder struct {
	row    int64 // of indexed
	digest []byte
	place  string
	others int // more places of it
}

// holders collects them.
type holders struct {
	of      map[int64]*holder
	most    int // 0: any number
	partial bool
}

// add notes a content, false if there are too many.
func (h *holders) add(row int64, digest []byte, place string) bool {
	if x := h.of[row]; x != nil {
		x.others++
		return true
	}
	if h.most > 0 && len(h.of) == h.most {
		h.partial = true
		return false
	}
	h.of[row] = &holder{row: row, digest: digest, place: place}
	return true
}

// sorted returns the contents in ascending row.
func (h *holders) sorted() []*holder {
	out := make([]*holder, 0, len(h.of))
	for _, x := range h.of {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b *holder) int { return cmp.Compare(a.row, b.row) })
	return out
}

// holding finds the contents that fit a query.
func (s *Store) holding(ctx context.Context, q *store.SeenQuery) (*holders, error) {
	h := &holders{of: make(map[int64]*holder), most: maxHolding}
	switch {
	case len(q.GUID) > 0:
		return h, s.readRows(ctx, "search GUIDs", `SELECT indexed, place FROM indexed_guids WHERE guid = ? ORDER BY indexed LIMIT ?`,
			[]any{q.GUID, maxHolding + 1}, func(rows *sql.Rows) error {
				var row int64
				var place string
				err := rows.Scan(&row, &place)
				h.add(row, nil, place)
				return err
			})
	case q.Place != "":
		return h, s.holdingPlace(ctx, h, q.Place)
	}
	for _, digest := range q.Digests {
		if h.partial {
			break
		}
		if err := s.holdingDigest(ctx, h, digest); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (s *Store) holdingDigest(ctx context.Context, h *holders, digest []byte) error {
	limit := -1 // none
	if h.most > 0 {
		limit = h.most + 1
	}
	return s.readRows(ctx, "search digests", `SELECT indexed, place FROM indexed_digests WHERE digest = ?1 AND lacks = 0
		UNION ALL
		SELECT i.row, d.place FROM indexed_digests d JOIN indexed i ON i.base = d.indexed
		WHERE d.digest = ?1 AND d.lacks = 0
			AND NOT EXISTS (SELECT 1 FROM indexed_digests x WHERE x.digest = ?1 AND x.indexed = i.row)
		LIMIT ?2`, []any{digest, limit}, func(rows *sql.Rows) error {
		var row int64
		var place string
		err := rows.Scan(&row, &place)
		h.add(row, digest, place)
		return err
	})
}

// holdingPlace finds contents by a part of a place's name.
func (s *Store) holdingPlace(ctx context.Context, h *holders, part string) error {
	places, err := readList(ctx, s, "search places", `SELECT p.place FROM places_text t JOIN places p ON p.row = t.rowid
		WHERE t.places_text MATCH ? AND instr(lower(p.place), lower(?)) LIMIT ?`,
		[]any{allOf(trigrams(strings.ToLower(part))), part, maxPlaces + 1}, scanOne[string])
	if err != nil {
		return err
	}
	if len(places) > maxPlaces {
		h.partial, places = true, places[:maxPlaces]
	}
	type found struct {
		row    int64
		digest []byte
		place  string
	}
	var list []found
	for _, place := range places {
		err := s.readRows(ctx, "search places", `SELECT indexed, digest FROM indexed_digests WHERE place = ? AND lacks = 0 LIMIT ?`,
			[]any{place, maxHolding + 1}, func(rows *sql.Rows) error {
				f := found{place: place}
				err := rows.Scan(&f.row, &f.digest)
				list = append(list, f)
				return err
			})
		if err != nil {
			return err
		}
		if len(list) > maxHolding {
			h.partial = true
			break
		}
	}
	slices.SortStableFunc(list, func(a, b found) int { return cmp.Compare(a.row, b.row) })
	asked := make(map[int64]int) // by row: digests that were looked for in contents that differ from it
	for _, f := range list {
		h.add(f.row, f.digest, f.place)
		if asked[f.row]++; asked[f.row] > maxFromBase {
			h.partial = h.partial || s.isBase(ctx, f.row)
			continue
		}
		err := s.readRows(ctx, "search places", `SELECT i.row FROM indexed i WHERE i.base = ?1
			AND NOT EXISTS (SELECT 1 FROM indexed_digests x WHERE x.digest = ?2 AND x.indexed = i.row) LIMIT ?3`,
			[]any{f.row, f.digest, maxHolding + 1}, func(rows *sql.Rows) error {
				var row int64
				err := rows.Scan(&row)
				h.add(row, f.digest, f.place)
				return err
			})
		if err != nil {
			return err
		}
	}
	return nil
}

// isBase reports whether other contents are stored as their difference from one.
func (s *Store) isBase(ctx context.Context, row int64) bool {
	var other int64
	return s.readRow(ctx, "search places", `SELECT row FROM indexed WHERE base = ? LIMIT 1`, []any{row}, &other) == nil
}

// seenCursor is where a page ends: a row of indexed and a row of seen.
func parseSeenCursor(s string) (content, row int64, err error) {
	if s == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(s, ".")
	content, err = strconv.ParseInt(a, 36, 64)
	if err == nil {
		row, err = strconv.ParseInt(b, 36, 64)
	}
	if !ok || err != nil || content < 0 || row < 0 {
		return 0, 0, fmt.Errorf("%w search: %.40q does not continue one", store.ErrInvalid, s)
	}
	return content, row, nil
}

// FindSeen returns on which devices of a tenant something was seen, content by content.
func (s *Store) FindSeen(ctx context.Context, tenant string, q store.SeenQuery, after string, limit int) (store.SeenPage, error) {
	if err := q.Check(); err != nil {
		return store.SeenPage{}, err
	}
	content, row, err := parseSeenCursor(after)
	if err != nil {
		return store.SeenPage{}, err
	}
	h, err := s.holding(ctx, &q)
	if err != nil {
		return store.SeenPage{}, err
	}
	limit = store.PageSize(limit)
	page := store.SeenPage{Partial: h.partial}
	for _, x := range h.sorted() {
		if x.row < content {
			continue
		}
		from := int64(0)
		if x.row == content {
			from = row
		}
		// One more than fits tells whether there is another page.
		err := s.readRows(ctx, "search sightings", `SELECT s.row, d.id, d.label, i.kind, i.content, s.first, s.until
			FROM seen s INDEXED BY seen_of CROSS JOIN devices d ON d.row = s.device CROSS JOIN indexed i ON i.row = s.indexed
			WHERE s.indexed = ? AND s.tenant = ? AND s.row > ? ORDER BY s.row LIMIT ?`,
			[]any{x.row, tenant, from, limit + 1 - len(page.Found)}, func(rows *sql.Rows) error {
				if len(page.Found) == limit {
					last := &page.Found[limit-1]
					page.Next = strconv.FormatInt(content, 36) + "." + strconv.FormatInt(last.Seq, 36)
					return nil
				}
				o := store.Occurrence{Digest: x.digest, Others: x.others}
				err := rows.Scan(&o.Seq, &o.Device, &o.Label, &o.Kind, sum{&o.Content}, clock{&o.First}, clock{&o.Until})
				o.Place, content = x.place, x.row
				page.Found = append(page.Found, o)
				return err
			})
		if err != nil || page.Next != "" {
			return page, err
		}
	}
	return page, nil
}

// CountSeen counts the devices on which something was seen.
func (s *Store) CountSeen(ctx context.Context, tenant string, q store.SeenQuery) (store.SeenCount, error) {
	if err := q.Check(); err != nil {
		return store.SeenCount{}, err
	}
	h, err := s.holding(ctx, &q)
	if err != nil {
		return store.SeenCount{}, err
	}
	now, scanned := make(map[int64]bool), 0 // by device
	full := false
	for _, x := range h.sorted() {
		err := s.readRows(ctx, "count sightings", `SELECT device, until FROM seen INDEXED BY seen_of WHERE indexed = ? AND tenant = ? LIMIT ?`,
			[]any{x.row, tenant, maxSeenScans + 1 - scanned}, func(rows *sql.Rows) error {
				var device, until int64
				err := rows.Scan(&device, &until)
				scanned++
				if _, known := now[device]; !known && len(now) == store.MaxSeenDevices {
					full = true
					return err
				}
				now[device] = now[device] || until == 0
				return err
			})
		if err != nil {
			return store.SeenCount{}, err
		}
		if full = full || scanned > maxSeenScans; full {
			break
		}
	}
	out := store.SeenCount{Devices: len(now), Partial: full || h.partial}
	for _, is := range now {
		if is {
			out.Now++
		}
	}
	return out, nil
}
