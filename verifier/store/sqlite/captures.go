package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/probity-attest/probity/verifier/store"
)

func encodeDetails(c *store.Capture) ([]byte, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	d := c.CaptureDetails
	d.Created, d.Expires = store.Micro(d.Created), store.Micro(d.Expires)
	b, err := resultCoding.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode capture: %w", err)
	}
	return b, nil
}

// AddCapture adds an open one and returns its number.
func (s *Store) AddCapture(ctx context.Context, c store.Capture, events ...store.Event) (seq int64, err error) {
	if !c.State.Open() || c.Held != 0 {
		return 0, fmt.Errorf("%w capture: a new one is open and empty", store.ErrInvalid)
	}
	details, err := encodeDetails(&c)
	if err != nil {
		return 0, err
	}
	err = s.writeWithEvents(ctx, "add capture", c.Tenant, events, func(t *tx) error {
		err := t.rowOr(store.ErrNotFound, `INSERT INTO captures (device, state, held, updated, open, details)
				SELECT row, ?, 0, ?, 1, ? FROM devices WHERE tenant = ? AND id = ? RETURNING seq`,
			[]any{c.State, micros(c.Updated), details, c.Tenant, c.Device}, &seq)
		if constraint(err) {
			return fmt.Errorf("the device has an open capture: %w", store.ErrConflict)
		}
		return err
	})
	return seq, err
}

// ofDevice are the captures of a device.
const ofDevice = ` device = (SELECT row FROM devices WHERE tenant = ? AND id = ?)`

const captureColumns = `SELECT c.seq, d.tenant, d.id, c.state, c.held, c.updated, c.details
	FROM captures c JOIN devices d ON d.row = c.device WHERE `

func (s *Store) readCaptures(ctx context.Context, what, where string, args ...any) ([]store.Capture, error) {
	return readList(ctx, s, what, captureColumns+where, args, func(rows *sql.Rows, c *store.Capture) error {
		var details []byte
		if err := rows.Scan(&c.Seq, &c.Tenant, &c.Device, &c.State, &c.Held, clock{&c.Updated}, &details); err != nil {
			return err
		}
		if err := cbor.Unmarshal(details, &c.CaptureDetails); err != nil {
			return fmt.Errorf("stored capture: %w", err)
		}
		c.Created, c.Expires = store.Micro(c.Created), store.Micro(c.Expires)
		return nil
	})
}

func (s *Store) readCapture(ctx context.Context, where string, args ...any) (store.Capture, error) {
	list, err := s.readCaptures(ctx, "read capture", where, args...)
	if err != nil {
		return store.Capture{}, err
	}
	if len(list) == 0 {
		return store.Capture{}, fmt.Errorf("read capture: %w", store.ErrNotFound)
	}
	return list[0], nil
}

// Capture returns one.
func (s *Store) Capture(ctx context.Context, tenant, device string, seq int64) (store.Capture, error) {
	return s.readCapture(ctx, `d.tenant = ? AND d.id = ? AND c.seq = ?`, tenant, device, seq)
}

// Captures returns the newest 1,000 of a device, newest first.
func (s *Store) Captures(ctx context.Context, tenant, device string) ([]store.Capture, error) {
	return s.readCaptures(ctx, "read captures", `d.tenant = ? AND d.id = ? ORDER BY c.seq DESC LIMIT 1000`, tenant, device)
}

// OpenCapture returns the one of a device that is open.
func (s *Store) OpenCapture(ctx context.Context, tenant, device string) (store.Capture, error) {
	return s.readCapture(ctx, `d.tenant = ? AND d.id = ? AND c.open = 1`, tenant, device)
}

// OpenCaptures returns open ones of all tenants that did not get on since before, longest idle first. limit is as in
// store.PageSize.
func (s *Store) OpenCaptures(ctx context.Context, before time.Time, limit int) ([]store.Capture, error) {
	return s.readCaptures(ctx, "read open captures", `c.open = 1 AND c.updated < ? ORDER BY c.updated, c.seq LIMIT ?`,
		micros(before), store.PageSize(limit))
}

// SaveCapture replaces state and details of an open one.
func (s *Store) SaveCapture(ctx context.Context, c store.Capture, events ...store.Event) error {
	details, err := encodeDetails(&c)
	if err != nil {
		return err
	}
	open := 0
	if c.State.Open() {
		open = 1
	}
	return s.writeWithEvents(ctx, "save capture", c.Tenant, events, func(t *tx) error {
		return t.execOr(fmt.Errorf("capture %d is not open with %d bytes: %w", c.Seq, c.Held, store.ErrConflict),
			`UPDATE captures SET state = ?, updated = ?, open = ?, details = ? WHERE seq = ? AND open = 1 AND held = ? AND`+ofDevice,
			c.State, micros(c.Updated), open, details, c.Seq, c.Held, c.Tenant, c.Device)
	})
}

// CutCapture forgets what has come of an open one but for the first held bytes.
func (s *Store) CutCapture(ctx context.Context, tenant, device string, seq int64, held uint32) error {
	return s.write(ctx, "cut capture", func(t *tx) error {
		if err := t.execOr(fmt.Errorf("capture %d is not open, or holds less than %d bytes: %w", seq, held, store.ErrConflict),
			`UPDATE captures SET held = ? WHERE seq = ? AND open = 1 AND held >= ? AND`+ofDevice,
			held, seq, held, tenant, device); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM capture_pieces WHERE capture = ? AND start >= ?`, seq, held); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE capture_pieces SET data = substr(data, 1, ? - start) WHERE capture = ? AND start + length(data) > ?`,
			held, seq, held)
		return err
	})
}

// AppendCapture adds a piece to an open one.
func (s *Store) AppendCapture(
	ctx context.Context, tenant, device string, seq int64, offset uint32, data []byte, at time.Time,
) error {
	if len(data) == 0 {
		return fmt.Errorf("%w capture: a piece of no bytes", store.ErrInvalid)
	}
	return s.write(ctx, "append to capture", func(t *tx) error {
		if err := t.execOr(fmt.Errorf("capture %d does not go on at %d: %w", seq, offset, store.ErrConflict),
			`UPDATE captures SET held = held + ?, updated = ? WHERE seq = ? AND open = 1 AND held = ? AND`+ofDevice,
			len(data), micros(at), seq, offset, tenant, device); err != nil {
			return err
		}
		return t.exec1(`INSERT INTO capture_pieces (capture, start, data) VALUES (?, ?, ?)`, seq, offset, data)
	})
}

// CapturePiece returns bytes that have come, from offset on.
func (s *Store) CapturePiece(ctx context.Context, tenant, device string, seq int64, offset uint32) (data []byte, err error) {
	err = s.readRow(ctx, "read capture", `SELECT substr(data, ? - start + 1) FROM capture_pieces
		WHERE capture = (SELECT seq FROM captures WHERE seq = ? AND`+ofDevice+`)
			AND start <= ? AND start + length(data) > ? ORDER BY start DESC LIMIT 1`,
		[]any{offset, seq, tenant, device, offset, offset}, &data)
	return data, err
}

// RemoveCapture deletes one with its bytes.
func (s *Store) RemoveCapture(ctx context.Context, tenant, device string, seq int64, events ...store.Event) error {
	return s.writeWithEvents(ctx, "remove capture", tenant, events, func(t *tx) error {
		return t.execOr(store.ErrNotFound, `DELETE FROM captures WHERE seq = ? AND`+ofDevice, seq, tenant, device)
	})
}

// PruneCaptures deletes final ones that did not get on since before, of all tenants.
func (s *Store) PruneCaptures(ctx context.Context, before time.Time) error {
	var due int
	err := s.readRow(ctx, "read captures", `SELECT count(*) FROM (SELECT 1 FROM captures WHERE open = 0 AND updated < ? LIMIT 1)`,
		[]any{micros(before)}, &due)
	if err != nil || due == 0 { // most often: no write for nothing
		return err
	}
	return s.write(ctx, "prune captures", func(t *tx) error {
		_, err := t.exec(`DELETE FROM captures WHERE open = 0 AND updated < ?`, micros(before))
		return err
	})
}

// CapturedBytes returns how many bytes of a tenant are held.
func (s *Store) CapturedBytes(ctx context.Context, tenant string) (n uint64, err error) {
	err = s.readRow(ctx, "count captured bytes", `SELECT coalesce(sum(c.held), 0) FROM captures c JOIN devices d ON d.row = c.device
		WHERE d.tenant = ?`, []any{tenant}, &n)
	return n, err
}
