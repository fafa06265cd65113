package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// Ages returns how many devices have newest evidence of an age.
func (s *Store) Ages(ctx context.Context, tenant string, now time.Time, upTo []time.Duration) ([]int, error) {
	out := make([]int, len(upTo)+1)
	err := s.snapshot(ctx, "count devices by age", func(r *reader) error {
		// Devices that report now are the first bucket's, those ahead of this clock too.
		before := int64(1) << 40
		for i, age := range upTo {
			from := now.Add(-age).Unix() / 60
			n, err := r.newest(tenant, from, before)
			if err != nil {
				return err
			}
			out[i], before = n, from
		}
		n, err := r.newest(tenant, 0, before)
		out[len(upTo)] = n
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// newest returns how many devices have newest evidence from minute from on, before minute to: whole hours are read as
// such.
func (r *reader) newest(tenant string, from, to int64) (int, error) {
	first, last := max((from+59)/60, 0), to/60
	if last <= first {
		return r.newestIn(tenant, minuteSpan, from, to)
	}
	sum := 0
	for _, part := range []struct{ span, from, to int64 }{
		{minuteSpan, from, first * 60}, {hourSpan, first, last}, {minuteSpan, last * 60, to},
	} {
		n, err := r.newestIn(tenant, part.span, part.from, part.to)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func (r *reader) newestIn(tenant string, span, from, to int64) (n int, err error) {
	err = r.row(`SELECT coalesce(sum(newest), 0) FROM reports WHERE tenant = ? AND span = ? AND at >= ? AND at < ?`,
		[]any{tenant, span, from, to}, &n)
	return n, err
}

// Facets returns which values devices have.
func (s *Store) Facets(ctx context.Context, tenant string) (store.Facets, error) {
	out := store.Facets{Labels: make(map[string][]store.ValueCount)}
	err := s.snapshot(ctx, "read facets", func(r *reader) error {
		for kind, into := range map[string]*[]store.ValueCount{
			"vendor": &out.Vendors, "model": &out.Models, "firmware": &out.Firmwares, "group": &out.Groups,
		} {
			err := r.values(into, `SELECT value, n FROM facets INDEXED BY facets_by_size
				WHERE tenant = ? AND kind = ? AND value <> '' ORDER BY n DESC, value LIMIT ?`, tenant, kind, store.MaxFacets)
			if err != nil {
				return err
			}
		}
		err := r.values(&out.Codes, `SELECT value, n FROM marks INDEXED BY marks_by_size
			WHERE tenant = ? AND kind = 'finding' AND name = '' AND weight = 0 ORDER BY n DESC, value LIMIT ?`, tenant, store.MaxFacets)
		if err != nil {
			return err
		}
		names, err := r.labelNames(tenant)
		for _, name := range names {
			var values []store.ValueCount
			err := r.values(&values, `SELECT value, n FROM marks INDEXED BY marks_by_size
				WHERE tenant = ? AND kind = 'label' AND name = ? AND weight = 0 ORDER BY n DESC, value LIMIT ?`, tenant, name, store.MaxFacets)
			if err != nil {
				return err
			}
			out.Labels[name] = values
		}
		return err
	})
	if err != nil {
		return store.Facets{}, err
	}
	return out, nil
}

// values reads values with how many devices have each.
func (r *reader) values(into *[]store.ValueCount, query string, args ...any) error {
	return r.rows(query, args, appendTo(into, func(rows *sql.Rows, v *store.ValueCount) error {
		return rows.Scan(&v.Value, &v.Devices)
	}))
}

// labelNames returns the names of labels in ascending order. Each takes one look at the index, however many values it
// has.
func (r *reader) labelNames(tenant string) (out []string, err error) {
	err = r.rows(`WITH RECURSIVE names (name) AS (
			SELECT min(name) FROM marks WHERE tenant = ?1 AND kind = 'label'
			UNION ALL
			SELECT (SELECT min(m.name) FROM marks m WHERE m.tenant = ?1 AND m.kind = 'label' AND m.name > names.name)
			FROM names WHERE names.name IS NOT NULL LIMIT ?2)
		SELECT name FROM names WHERE name IS NOT NULL`, []any{tenant, store.MaxFacets}, appendTo(&out, scanOne))
	return out, err
}
