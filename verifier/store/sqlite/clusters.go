package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// severities are those that marks of clusters have as weights.
var severities = [...]result.Severity{
	weighsNothing: result.Info, weighsWarning: result.Warn, weighsCritical: result.Critical,
}

const clusterColumns = `SELECT m.row, m.value, m.weight, m.n, c.since, c.finding
	FROM marks m JOIN clusters c ON c.mark = m.row WHERE `

// Clusters returns clusters whose findings weigh at least so much, most severe first, then largest.
func (s *Store) Clusters(
	ctx context.Context, tenant string, least result.Severity, limit int,
) (out []store.Cluster, err error) {
	err = s.snapshot(ctx, "list clusters", func(r *reader) (err error) {
		out, err = r.clusters(`m.tenant = ? AND m.kind = 'cluster' AND m.name = '' AND m.weight >= ?
			ORDER BY m.weight DESC, m.n DESC, m.value LIMIT ?`, tenant, weight(least), store.PageSize(limit))
		return err
	})
	return out, err
}

// Cluster returns one by its id.
func (s *Store) Cluster(ctx context.Context, tenant, id string) (out store.Cluster, err error) {
	err = s.snapshot(ctx, "read cluster", func(r *reader) error {
		list, err := r.clusters(`m.tenant = ? AND m.kind = 'cluster' AND m.name = '' AND m.value = ?`, tenant, id)
		if err == nil && len(list) == 0 {
			err = store.ErrNotFound
		}
		if err == nil {
			out = list[0]
		}
		return err
	})
	return out, err
}

func (r *reader) clusters(where string, args ...any) (out []store.Cluster, err error) {
	var marks []int64
	err = r.rows(clusterColumns+where, args, func(rows *sql.Rows) error {
		var c store.Cluster
		var mark int64
		var weight int
		var finding []byte
		err := rows.Scan(&mark, &c.ID, &weight, &c.Devices, clock{&c.Since}, &finding)
		if err != nil {
			return err
		}
		if weight < 0 || weight >= len(severities) {
			return errors.New("stored finding: unknown weight")
		}
		if c.Finding, err = decodeFinding(finding); err != nil {
			return err
		}
		c.Finding.Severity = severities[weight]
		marks, out = append(marks, mark), append(out, c)
		return nil
	})
	for i := range marks {
		if err == nil {
			err = r.values(&out[i].Models, `SELECT trim(c.vendor || ' ' || c.model), sum(k.n) FROM class_counts k
				JOIN classes c ON c.row = k.class WHERE k.mark = ? AND k.class > 0 AND c.model || c.vendor <> ''
				GROUP BY c.vendor, c.model ORDER BY 2 DESC, 1 LIMIT ?`, marks[i], store.MaxClusterValues)
		}
		if err == nil {
			err = r.values(&out[i].Groups, `SELECT c.grouping, sum(k.n) FROM class_counts k
				JOIN classes c ON c.row = k.class WHERE k.mark = ? AND k.class > 0 AND c.grouping <> ''
				GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?`, marks[i], store.MaxClusterValues)
		}
	}
	return out, err
}

// CountClusters returns how many Clusters there are, at most upTo.
func (s *Store) CountClusters(ctx context.Context, tenant string, least result.Severity, upTo int) (n int, err error) {
	err = s.readRow(ctx, "count clusters", `SELECT count(*) FROM (SELECT 1 FROM marks
		WHERE tenant = ? AND kind = 'cluster' AND name = '' AND weight >= ? LIMIT ?)`, []any{tenant, weight(least), upTo}, &n)
	return n, err
}
