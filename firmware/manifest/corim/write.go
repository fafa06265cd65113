package corim

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// writer appends deterministic CBOR.
type writer struct{ b []byte }

func (w *writer) head(major int, n uint64) {
	m := byte(major << 5)
	switch {
	case n < 24:
		w.b = append(w.b, m|byte(n))
	case n < 1<<8:
		w.b = append(w.b, m|24, byte(n))
	case n < 1<<16:
		w.b = binary.BigEndian.AppendUint16(append(w.b, m|25), uint16(n))
	case n < 1<<32:
		w.b = binary.BigEndian.AppendUint32(append(w.b, m|26), uint32(n))
	default:
		w.b = binary.BigEndian.AppendUint64(append(w.b, m|27), n)
	}
}

func (w *writer) uint(n uint64) { w.head(majorUint, n) }

func (w *writer) int(n int64) {
	if n < 0 {
		w.head(majorNegative, uint64(-1-n))
		return
	}
	w.head(majorUint, uint64(n))
}

func (w *writer) text(s string) {
	w.head(majorText, uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) bytes(b []byte) {
	w.head(majorBytes, uint64(len(b)))
	w.b = append(w.b, b...)
}

func (w *writer) tag(n uint64) { w.head(majorTag, n) }

// embed writes what f writes as a byte string.
func (w *writer) embed(f func(*writer)) {
	var in writer
	f(&in)
	w.bytes(in.b)
}

// entry is one member of a map that is going to be written.
type entry struct {
	key   int64
	write func()
}

// object writes a map of entries and others, in the order of their encoded keys.
func (w *writer) object(entries []entry, others []Field) {
	for _, f := range others {
		if f.Name == "" {
			entries = append(entries, entry{f.Key, func() { w.b = append(w.b, f.Value...) }})
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return compareKeys(a.key, b.key) })
	named := slices.DeleteFunc(slices.Clone(others), func(f Field) bool { return f.Name == "" })
	slices.SortStableFunc(named, func(a, b Field) int {
		if d := len(a.Name) - len(b.Name); d != 0 { // the encoded length comes first
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	w.head(majorMap, uint64(len(entries)+len(named)))
	for _, e := range entries {
		w.int(e.key)
		e.write()
	}
	for _, f := range named {
		w.text(f.Name)
		w.b = append(w.b, f.Value...)
	}
}

// compareKeys orders as the encodings do: 0, 1, ... and then -1, -2, ...
func compareKeys(a, b int64) int {
	switch {
	case a >= 0 && b < 0:
		return -1
	case a < 0 && b >= 0:
		return 1
	case a < 0:
		a, b = b, a
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func array[T any](w *writer, list []T, f func(*T)) {
	w.head(majorArray, uint64(len(list)))
	for i := range list {
		f(&list[i])
	}
}

// Encode returns the tagged, unsigned CoRIM in the deterministic encoding, without checking what it writes. c.Signed is
// left aside.
func Encode(c *CoRIM) []byte {
	w := &writer{}
	w.tag(TagCoRIM)
	entries := []entry{
		{0, func() { w.id(c.ID) }},
		{1, func() { array(w, c.Tags, w.tagged) }},
	}
	if c.Profile != "" {
		entries = append(entries, entry{3, func() { w.profile(c.Profile) }})
	}
	if !c.NotAfter.IsZero() {
		entries = append(entries, entry{4, func() { w.validity(c.NotBefore, c.NotAfter) }})
	}
	if len(c.Entities) > 0 {
		entries = append(entries, entry{5, func() { array(w, c.Entities, w.entity) }})
	}
	w.object(entries, c.Extensions)
	return w.b
}

func (w *writer) tagged(t *Tag) {
	w.tag(t.Number)
	switch {
	case t.CoMID != nil:
		w.embed(func(in *writer) { in.comid(t.CoMID) })
	case t.CoSWID != nil:
		w.embed(func(in *writer) { in.coswid(t.CoSWID) })
	default:
		w.bytes(t.Raw)
	}
}

func (w *writer) id(i ID) {
	if i.UUID != nil {
		w.bytes(i.UUID)
		return
	}
	w.text(i.Text)
}

func (w *writer) profile(p string) {
	if digits, ok := strings.CutPrefix(p, "oid:"); ok {
		if oid, err := hex.DecodeString(digits); err == nil {
			w.tag(TagOID)
			w.bytes(oid)
			return
		}
	}
	w.tag(tagURI)
	w.text(p)
}

func (w *writer) validity(notBefore, notAfter time.Time) {
	var entries []entry
	if !notBefore.IsZero() {
		entries = append(entries, entry{0, func() { w.time(notBefore) }})
	}
	w.object(append(entries, entry{1, func() { w.time(notAfter) }}), nil)
}

func (w *writer) time(t time.Time) {
	w.tag(tagTime)
	w.int(t.Unix())
}

func (w *writer) entity(e *Entity) {
	w.object([]entry{
		{0, func() { w.text(e.Name) }},
		{2, func() { array(w, e.Roles, func(n *int64) { w.int(*n) }) }},
	}, e.Others)
}
