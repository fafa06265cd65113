package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// wholeCheck is the largest database in bytes that Open checks page by page; that takes about a second. Damage in a larger
// one is found when the page is read.
const wholeCheck = 64 << 20

// migrate checks that db is ours and, if check is set and it is small enough, whole, then brings it to the newest schema. Each migration is one transaction.
func migrate(ctx context.Context, db *sql.DB, check bool) error {
	var tables, versions, pages, pageSize int64
	if err := db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(name = 'goose_db_version'), 0) FROM sqlite_schema`).
		Scan(&tables, &versions); err != nil {
		return err
	}
	if tables > 0 && versions == 0 {
		return fmt.Errorf("%w (it has %d tables of another program)", ErrForeign, tables)
	}
	if err := db.QueryRowContext(ctx, `PRAGMA page_count`).Scan(&pages); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, `PRAGMA page_size`).Scan(&pageSize); err != nil {
		return err
	}
	part := `PRAGMA quick_check(1)`
	if !check || pages*pageSize > wholeCheck {
		part = `PRAGMA quick_check(goose_db_version)` // goose takes one that it cannot read for an absent one
	}
	if tables > 0 {
		var verdict string
		if err := db.QueryRowContext(ctx, part).Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			return fmt.Errorf("%w (%s)", ErrCorrupt, verdict)
		}
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	current, newest, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if current > newest {
		return fmt.Errorf("%w (its schema is %d, this version knows %d)", ErrNewer, current, newest)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema from %d to %d: %w", current, newest, err)
	}
	return nil
}
