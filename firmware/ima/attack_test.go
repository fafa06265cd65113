package ima

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/probity-attest/probity/firmware/pcr"
)

// ATTACKS row 2: no bit flip in a list makes a replay show another file, digest or order than the kernel measured.
func TestEveryBitFlip(t *testing.T) {
	for _, name := range captured(t) {
		list := read(t, name+".bin")
		for alg, bank := range readPCRs(t, name+".pcrs") {
			quoted := bank.Value(PCR)
			original := visit(t, list, alg, quoted)
			changed := bytes.Clone(list)
			var accepted int
			for bit := range 8 * len(list) {
				changed[bit/8] ^= 1 << (bit % 8)
				if entries, err := tryVisit(changed, alg, quoted); err == nil {
					accepted++
					checkNotBetter(t, original, entries, alg, bit)
				}
				changed[bit/8] ^= 1 << (bit % 8)
			}
			if accepted > len(list)*8/2 {
				t.Errorf("%s %s: %d of %d flips accepted", name, alg, accepted, 8*len(list))
			}
		}
	}
}

// checkNotBetter checks that what was accepted shows the original files or fails to decode. Only bytes that no quote
// covers may have changed: template names, data of violations, SHA-1 digests beside recomputed ones.
func checkNotBetter(t *testing.T, original, got []Entry, alg pcr.Algorithm, bit int) {
	t.Helper()
	if len(got) != len(original) {
		t.Fatalf("%s: bit %d: %d entries, want %d", alg, bit, len(got), len(original))
	}
	for i, e := range got {
		o := original[i]
		if e.Violation() != o.Violation() || e.PCR != o.PCR {
			t.Fatalf("%s: bit %d: entry %d became %+v", alg, bit, i, e)
		}
		if e.Violation() {
			continue
		}
		if !bytes.Equal(e.Data, o.Data) {
			t.Fatalf("%s: bit %d: entry %d has other data", alg, bit, i)
		}
		was, _ := o.File()
		if f, ok := e.File(); ok && (f.Path != was.Path || f.Algorithm != was.Algorithm || !bytes.Equal(f.Digest, was.Digest)) {
			t.Fatalf("%s: bit %d: entry %d shows %+v, want %+v", alg, bit, i, f, was)
		}
	}
}

func tryVisit(list []byte, alg pcr.Algorithm, quoted []byte) (out []Entry, err error) {
	_, _, err = State{}.Advance(list, alg, quoted, func(e Entry) { out = append(out, e) })
	return out, err
}

func visit(t *testing.T, list []byte, alg pcr.Algorithm, quoted []byte) []Entry {
	t.Helper()
	out, err := tryVisit(list, alg, quoted)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// In a bank of padded digests only the SHA-1 digest is proved, so data that does not have it is refused.
func TestDataUnderAPaddedDigest(t *testing.T) {
	list := build(t, 6)
	for alg, mode := range map[pcr.Algorithm]Mode{pcr.SHA1: 0, pcr.SHA256: Padded, pcr.SHA384: PaddedShort} {
		quoted := quote(t, list, alg, mode)
		changed := bytes.Replace(list, []byte("libmodule-3"), []byte("libinnocent"), 1)
		if _, err := tryVisit(changed, alg, quoted); !errors.Is(err, ErrTemplateDigest) {
			t.Errorf("%s: %v, want ErrTemplateDigest", alg, err)
		}
	}
}

// ATTACKS row 11, types swapped: the template's name is covered by no hash, so no name may show another file.
func TestRelabelledTemplate(t *testing.T) {
	xattr := "sha256:\x00" + strings.Repeat("G", 32)
	var data []byte
	for _, v := range []string{
		"sha256:\x00" + strings.Repeat("E", 32), "/bin/evil\x00", "", xattr, "/bin/good\x00", xattr, "\x00\x00\x00\x00", "\x00\x00\x00\x00", "\xa4\x81",
	} {
		data = appendField(data, v)
	}
	digest := sha1.Sum(data)
	names := []string{"d-ng", "n-ng|d-ng", "sig|n-ng|d-ng", "buf|buf|buf|d-ng|n-ng|sig|sig|sig|sig", "unknown", "imaging", "ima-"}
	for _, tmpl := range templates {
		names = append(names, tmpl.name)
	}
	shown := 0
	for _, name := range names {
		e := Entry{PCR: PCR, Template: name, TemplateDigest: digest[:], Data: data}
		f, ok := e.File()
		if ok && (f.Path != "/bin/evil" || f.Digest[0] != 'E') {
			t.Errorf("as %s the entry shows %+v", name, f)
		}
		if ok {
			shown++
		}
	}
	if shown != 1 {
		t.Errorf("%d names decode the entry, want evm-sig alone", shown)
	}
}

// ATTACKS row 11 for violations: an entry cannot be passed off as one, nor one as an entry.
func TestViolationsAreBound(t *testing.T) {
	list := build(t, 6, 2)
	quoted := quote(t, list, pcr.SHA256, Recomputed)
	for _, n := range []int{1, 3} {
		at, _ := Skip(list, n)
		changed := bytes.Clone(list)
		if n == 3 { // the violation
			changed[at+4] = 1
		} else {
			clear(changed[at+4 : at+4+DigestSize])
		}
		if _, err := tryVisit(changed, pcr.SHA256, quoted); err == nil {
			t.Errorf("entry %d: violation flag changed and accepted", n)
		}
	}
}

// ATTACKS row 15: lists of the largest size made of the smallest entries, and lengths that promise more than there is.
func TestHugeLists(t *testing.T) {
	entry := appendEntry(nil, Entry{PCR: PCR, Template: "x", TemplateDigest: make([]byte, DigestSize)})
	list := bytes.Repeat(entry, (16<<20)/len(entry))
	allocs := testing.AllocsPerRun(1, func() {
		if _, err := Count(list); err != nil {
			t.Error(err)
		}
		if _, _, err := (State{}).Advance(list, pcr.SHA256, make([]byte, 32), nil); err != nil {
			t.Error(err)
		}
		if _, _, err := (State{}).Advance(list, pcr.SHA256, bytes.Repeat([]byte{1}, 32), nil); err == nil {
			t.Error("a list of nothing matched")
		}
	})
	if allocs > 20 {
		t.Errorf("%v allocations", allocs)
	}
	if _, err := ReadList(bytes.Repeat(entry, maxEntries+1)); err == nil {
		t.Error("ReadList takes any number of entries")
	}
	for _, n := range []uint32{maxData + 1, 1 << 31, 1<<32 - 1} {
		bad := bytes.Clone(entry)
		binary.LittleEndian.PutUint32(bad[len(bad)-4:], n)
		if _, err := Count(bad); err == nil || !strings.Contains(err.Error(), "at most") {
			t.Errorf("data of %d bytes: %v", n, err)
		}
	}
}

// ATTACKS row 14: a file's name can carry anything to whoever prints the list; Entry keeps it raw.
func TestHostilePaths(t *testing.T) {
	for _, tc := range []struct{ path, want string }{
		{"/usr/bin/ls", "/usr/bin/ls"},
		{"/usr/share/\u4e2d\u6587", "/usr/share/\u4e2d\u6587"},
		{"/tmp/\x1b[2J\x07", `/tmp/\x1b[2J\x07`},
		{"/tmp/a\n10 0000", `/tmp/a\x0a10_0000`},
		{`/tmp/\x1b`, `/tmp/\\x1b`},
		{"/tmp/\u202egpj.exe", `/tmp/\u202egpj.exe`},
		{"/tmp/\xff\xfe", `/tmp/\xff\xfe`},
		{"/tmp/\U000e0001", `/tmp/\U000e0001`},
		{"/" + strings.Repeat("a", 9000), "/" + strings.Repeat("a", maxShown) + "..."},
	} {
		var b Builder
		if err := b.Append(Measurement{Path: tc.path, Algorithm: pcr.SHA256, Digest: make([]byte, 32)}); err != nil {
			t.Fatal(err)
		}
		list, err := ReadList(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		got := list.View().List[0].Path
		if got != tc.want {
			t.Errorf("View of %q = %q, want %q", tc.path, got, tc.want)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("View of %q holds %U", tc.path, r)
			}
		}
		s := NewScanner(b.Bytes())
		s.Scan()
		if f, _ := s.Entry().File(); f.Path != strings.ReplaceAll(tc.path, " ", "_") {
			t.Errorf("raw path %q, want %q", f.Path, tc.path)
		}
	}
}
