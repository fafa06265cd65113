package sqlite

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// micros is a time as it is stored: microseconds since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// clock scans a stored time.
type clock struct{ t *time.Time }

// Scan implements sql.Scanner.
func (c clock) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("stored time: want an integer, got %T", v)
	}
	*c.t = time.Time{}
	if n != 0 {
		*c.t = time.UnixMicro(n).UTC()
	}
	return nil
}

// document scans a JSON object of strings; NULL is a nil map.
type document struct{ m *map[string]string }

// Scan implements sql.Scanner.
func (d document) Scan(v any) error {
	*d.m = nil
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(v), d.m)
	default:
		return fmt.Errorf("stored labels: want text, got %T", v)
	}
}

// labels returns the JSON form of m, nil (NULL) if it is empty.
func labels(m map[string]string) (any, error) {
	if len(m) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(m)
	return string(b), err
}

var resultCoding = func() cbor.EncMode {
	o := cbor.CoreDetEncOptions()
	o.Time = cbor.TimeRFC3339Nano
	m, err := o.EncMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// encodeResult returns r as it is stored. It is called before an operation is queued: callers encode in parallel.
func encodeResult(r result.Result) ([]byte, error) {
	r.IssuedAt, r.At, r.StaleAt = store.Micro(r.IssuedAt), store.Micro(r.At), store.Micro(r.StaleAt)
	r.Findings = append([]result.Finding(nil), r.Findings...)
	for i := range r.Findings {
		r.Findings[i].FirstSeen = store.Micro(r.Findings[i].FirstSeen)
	}
	return resultCoding.Marshal(r)
}

func decodeResult(b []byte) (r result.Result, err error) {
	if err := cbor.Unmarshal(b, &r); err != nil {
		return result.Result{}, fmt.Errorf("stored result: %w", err)
	}
	r.IssuedAt, r.At, r.StaleAt = store.Micro(r.IssuedAt), store.Micro(r.At), store.Micro(r.StaleAt)
	for i := range r.Findings {
		r.Findings[i].FirstSeen = store.Micro(r.Findings[i].FirstSeen)
		if w := r.Findings[i].Waiver; w != nil {
			w.Expires = store.Micro(w.Expires)
		}
	}
	return r, nil
}
