package sqlite

import (
	"context"
	"errors"

	"github.com/probity-attest/probity/verifier/store"
)

// Content returns the bytes with this digest. Their digest is computed again, so that a damaged disk yields an error and
// never other content.
func (s *Store) Content(ctx context.Context, digest [32]byte) (content []byte, err error) {
	err = s.readRow(ctx, "read content", `SELECT content FROM contents WHERE digest = ?`, []any{digest[:]}, &content)
	if err != nil {
		return nil, err
	}
	if err := store.CheckContent(digest, content); err != nil {
		return nil, errors.Join(ErrCorrupt, err)
	}
	return content, nil
}

// PutContent stores bytes under their digest, which is checked; storing them again is no error.
func (s *Store) PutContent(ctx context.Context, digest [32]byte, content []byte) error {
	if err := store.CheckContent(digest, content); err != nil {
		return err
	}
	return s.write(ctx, "store content", func(t *tx) error {
		_, err := t.exec(`INSERT INTO contents (digest, content) VALUES (?, ?) ON CONFLICT DO NOTHING`, digest[:], nonNil(content))
		return err
	})
}
