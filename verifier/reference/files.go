package reference

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
)

// Table keeps the files of many documents, each pair of path and digest once: versions of a system share most of their
// files. It only grows, so that sets which were built before stay as they are while documents are added. What no
// document uses any more goes with the Table: Entries tells when it is time for a new one. It is safe for concurrent use.
//
// An entry is a record of the folder's number, the length of name and digest, name and digest, at an even place
// of fixed-size chunks; its number is half of that place. Nothing in there is a pointer, so the garbage collector does
// not look at it.
type Table struct {
	seed maphash.Seed

	mu      sync.Mutex // of those who add
	numbers map[string]uint32
	folders []string // ending in a slash, or empty
	chunks  [][]byte
	used    int // bytes of the last chunk
	entries int

	index [indexShards]shard // by digest
}

const (
	recordHead  = 4 + 2 + 1
	recordUnit  = 2         // bytes
	chunkSize   = 256 << 10 // bytes
	chunkUnits  = chunkSize / recordUnit
	indexShards = 64
)

// errTableFull is returned when entries could no longer be numbered.
var errTableFull = errors.New("reference values have more files than a table holds (8 GiB)")

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{seed: maphash.MakeSeed(), numbers: make(map[string]uint32)}
}

// Entries returns how many different pairs of path and digest the table has.
func (t *Table) Entries() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.entries
}

// record is one entry as it lies in the table.
type record []byte

func (r record) folder() uint32 { return binary.LittleEndian.Uint32(r) }

func (r record) name() []byte {
	return r[recordHead : recordHead+int(binary.LittleEndian.Uint16(r[4:]))]
}

func (r record) digest() []byte {
	start := recordHead + int(binary.LittleEndian.Uint16(r[4:]))
	return r[start : start+int(r[6])]
}

// view is the part of a table that existed when it was made. It needs no lock: records never change.
type view struct {
	folders []string
	chunks  [][]byte
}

func (v *view) record(id uint32) record {
	return v.chunks[id/chunkUnits][id%chunkUnits*recordUnit:]
}

func (v *view) path(id uint32) string {
	r := v.record(id)
	return v.folders[r.folder()] + string(r.name())
}

// is reports whether an entry has this path.
func (v *view) is(r record, path string) bool {
	folder, name := v.folders[r.folder()], r.name()
	return len(path) == len(folder)+len(name) && path[len(folder):] == string(name) && path[:len(folder)] == folder
}

// split cuts a path behind its last slash; of a name that is too long for a record, more goes to the folder.
func split(path string) (folder, name string) {
	n := max(strings.LastIndexByte(path, '/')+1, len(path)-maxName)
	return path[:n], path[n:]
}

// add returns the number of an entry, which it makes where there is none. t.mu is held.
func (t *Table) add(path string, digest []byte) (uint32, error) {
	if len(digest) > maxDigest {
		return 0, errors.New("a file's digest is longer than any hash gives")
	}
	hash := maphash.Bytes(t.seed, digest)
	s := &t.index[hash%indexShards]
	now := view{t.folders, t.chunks}
	for id := range s.find(hash) {
		if r := now.record(id); bytes.Equal(r.digest(), digest) && now.is(r, path) {
			return id, nil
		}
	}
	folder, name := split(path)
	number, ok := t.numbers[folder]
	if !ok {
		number, folder = uint32(len(t.folders)), strings.Clone(folder)
		t.folders = append(t.folders, folder)
		t.numbers[folder] = number
	}
	size := (recordHead + len(name) + len(digest) + recordUnit - 1) &^ (recordUnit - 1)
	if len(t.chunks) == 0 || t.used+size > chunkSize {
		if (len(t.chunks)+1)*chunkUnits > 1<<32-1 {
			return 0, errTableFull
		}
		t.chunks, t.used = append(t.chunks, make([]byte, chunkSize)), 0
	}
	r := t.chunks[len(t.chunks)-1][t.used : t.used : t.used+size]
	r = binary.LittleEndian.AppendUint32(r, number)
	r = binary.LittleEndian.AppendUint16(r, uint16(len(name)))
	r = append(r, byte(len(digest)))
	r = append(r, name...)
	_ = append(r, digest...)
	id := uint32((len(t.chunks)-1)*chunkUnits + t.used/recordUnit)
	t.used += size
	t.entries++
	now.chunks = t.chunks
	s.add(hash, id, func(id uint32) uint64 { return maphash.Bytes(t.seed, now.record(id).digest()) })
	return id, nil
}

// holding returns the entries with a digest that a view has.
func (t *Table) holding(v *view, digest []byte) []uint32 {
	hash := maphash.Bytes(t.seed, digest)
	s := &t.index[hash%indexShards]
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []uint32
	for id := range s.find(hash) {
		if int(id/chunkUnits) < len(v.chunks) && bytes.Equal(v.record(id).digest(), digest) {
			out = append(out, id)
		}
	}
	return out
}

// slots is an open-addressed hash table of entry numbers, which always has an empty place. The tags spare most looks at the
// records of other entries.
type slots struct {
	tags []uint8 // odd; 0: empty
	ids  []uint32
}

func newSlots(n int) slots { return slots{tags: make([]uint8, n), ids: make([]uint32, n)} }

// tag takes other bits of a hash than place and the choice of a shard do.
func tag(hash uint64) uint8 { return uint8(hash>>8) | 1 }

func (s *slots) place(hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(s.tags)))
	return int(hi)
}

// find yields the entries that may have a hash.
func (s *slots) find(hash uint64) func(yield func(uint32) bool) {
	return func(yield func(uint32) bool) {
		if len(s.tags) == 0 {
			return
		}
		want := tag(hash)
		for i := s.place(hash); s.tags[i] != 0; {
			if s.tags[i] == want && !yield(s.ids[i]) {
				return
			}
			if i++; i == len(s.tags) {
				i = 0
			}
		}
	}
}

// put adds an entry; there must be room.
func (s *slots) put(hash uint64, id uint32) {
	i := s.place(hash)
	for s.tags[i] != 0 {
		if i++; i == len(s.tags) {
			i = 0
		}
	}
	s.tags[i], s.ids[i] = tag(hash), id
}

// shard is a part of the index by digest. Those who add hold the table's lock and, while they change it, the shard's.
type shard struct {
	mu sync.RWMutex
	slots
	n int
}

func (s *shard) add(hash uint64, id uint32, hashOf func(uint32) uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= len(s.tags)*4/5 {
		grown := newSlots(len(s.tags)*5/4 + 16)
		for i, tag := range s.tags {
			if tag != 0 {
				grown.put(hashOf(s.ids[i]), s.ids[i])
			}
		}
		s.slots = grown
	}
	s.put(hash, id)
	s.n++
}

// files are those of one document.
type files struct {
	table *Table
	view
	slots // by path
	n     int
	exact bool // one digest algorithm: any other digest at a known path is a change
}

// keep makes the files of one document. each calls its argument for every file.
func (t *Table) keep(n int, each func(func(path string, digest []byte) error) error) (*files, error) {
	if n == 0 {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := &files{table: t, slots: newSlots(n*8/7 + 1)}
	err := each(func(path string, digest []byte) error {
		id, err := t.add(path, digest)
		if err != nil {
			return err
		}
		hash := maphash.String(t.seed, path)
		for other := range f.find(hash) {
			if other == id {
				return nil
			}
		}
		f.put(hash, id)
		f.n++
		return nil
	})
	f.view = view{t.folders, t.chunks}
	return f, err
}

// compare is Compiled.File.
func (f *files) compare(path string, digest []byte) (Match, string) {
	if f == nil {
		return Unknown, ""
	}
	var expected []byte
	known := false
	for id := range f.find(maphash.String(f.table.seed, path)) {
		r := f.record(id)
		if !f.is(r, path) {
			continue
		}
		known = true
		d := r.digest()
		if bytes.Equal(d, digest) {
			return Same, ""
		}
		if expected == nil && (f.exact || len(d) == len(digest)) {
			expected = d
		}
	}
	switch {
	case expected != nil:
		return Changed, hex.EncodeToString(expected)
	case known: // by another algorithm: it says nothing of this digest
		return Unknown, ""
	}
	for _, id := range f.table.holding(&f.view, digest) {
		if f.has(id) {
			return Moved, f.path(id)
		}
	}
	return Unknown, ""
}

// has reports whether the document has an entry.
func (f *files) has(id uint32) bool {
	if f == nil || int(id/chunkUnits) >= len(f.chunks) || int(f.record(id).folder()) >= len(f.folders) {
		return false
	}
	for other := range f.find(maphash.String(f.table.seed, f.path(id))) {
		if other == id {
			return true
		}
	}
	return false
}
