package ima

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

// checkAdvance is FuzzAdvance's assertion.
func checkAdvance(t *testing.T, list []byte, alg uint16, quoted []byte) {
	a := pcr.Algorithm(alg)
	var visited []byte
	next, matched, err := State{}.Advance(list, a, quoted, func(e Entry) { visited = appendEntry(visited, e) })
	if err != nil {
		if next.Entries != 0 || next.Value != nil || matched != 0 || visited != nil {
			t.Fatalf("state %+v, %d matched beside %v", next, matched, err)
		}
		return
	}
	if n, err := Count(visited); err != nil || n != matched || uint64(n) != next.Entries || !bytes.HasPrefix(list, visited) {
		t.Fatalf("visited %d entries, %d matched, %v", n, matched, err)
	}
	for _, m := range []Mode{Recomputed, Padded, PaddedShort} {
		bank, err := Replay(visited, a, m)
		if err != nil {
			t.Fatal(err)
		}
		if v := bank.Value(PCR); bytes.Equal(v, quoted) || v == nil && bytes.Equal(quoted, make([]byte, a.Size())) {
			return
		}
	}
	t.Fatalf("%d entries do not lead to %x", matched, quoted)
}

const (
	digestD = "sha256:\x00" + "DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD"
	digestM = "sha512:\x00" + "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM"
)

// line prints an entry as the kernel does (ima_ascii_measurements_show), from the texts of its fields.
func line(digest []byte, template string, texts ...string) string {
	return fmt.Sprintf("%2d %x %s %s\n", PCR, digest, template, strings.Join(texts, " "))
}

func TestTemplates(t *testing.T) {
	d32, m64 := []byte(digestD[8:]), []byte(digestM[8:])
	dHex, mHex := "sha256:"+hex.EncodeToString(d32), "sha512:"+hex.EncodeToString(m64)
	for _, tc := range []struct {
		template string
		values   []string
		texts    []string
		want     File
	}{
		{"ima-ng", []string{digestD, "/x\x00"}, []string{dHex, "/x"}, File{Path: "/x", Algorithm: "sha256", Digest: d32}},
		{
			"ima-sig",
			[]string{digestD, "/x\x00", "\x03\x02sig"},
			[]string{dHex, "/x", "0302736967"},
			File{Path: "/x", Algorithm: "sha256", Digest: d32, Signature: []byte("\x03\x02sig")},
		},
		{"ima-sig", []string{digestD, "/x\x00", ""}, []string{dHex, "/x", ""}, File{Path: "/x", Algorithm: "sha256", Digest: d32}},
		{
			"ima-buf",
			[]string{digestD, "kexec-cmdline\x00", "quiet"},
			[]string{dHex, "kexec-cmdline", "7175696574"},
			File{Path: "kexec-cmdline", Algorithm: "sha256", Digest: d32, Buffer: []byte("quiet")},
		},
		{
			"ima-ngv2",
			[]string{"verity:" + digestD, "/x\x00"},
			[]string{"verity:" + dHex, "/x"},
			File{Path: "/x", DigestType: "verity", Algorithm: "sha256", Digest: d32},
		},
		{
			"ima-sigv2",
			[]string{"ima:" + digestD, "/x\x00", "s"},
			[]string{"ima:" + dHex, "/x", "73"},
			File{Path: "/x", DigestType: "ima", Algorithm: "sha256", Digest: d32, Signature: []byte("s")},
		},
		{
			"ima-modsig",
			[]string{digestD, "/m.ko\x00", "", digestM, "pkcs7"},
			[]string{dHex, "/m.ko", "", mHex, "706b637337"},
			File{Path: "/m.ko", Algorithm: "sha256", Digest: d32},
		},
		{
			"evm-sig",
			[]string{digestD, "/x\x00", "e", "security.ima\x00", le32(5), "value", le32(1000), le32(0), "\xed\x81"},
			[]string{dHex, "/x", "65", "security.ima", "05000000", "76616c7565", "1000", "0", "33261"},
			File{Path: "/x", Algorithm: "sha256", Digest: d32},
		},
		{
			"d-ng|n-ng|buf",
			[]string{digestM, "/x\x00", "b"},
			[]string{mHex, "/x", "62"},
			File{Path: "/x", Algorithm: "sha512", Digest: m64, Buffer: []byte("b")},
		},
	} {
		t.Run(tc.template, func(t *testing.T) {
			var data []byte
			for _, v := range tc.values {
				data = append(data, le32(len(v))+v...)
			}
			digest := sha1.Sum(data)
			e := Entry{PCR: PCR, Template: tc.template, TemplateDigest: digest[:], Data: data}
			f, ok := e.File()
			if diff := cmp.Diff(tc.want, f); diff != "" || !ok {
				t.Errorf("File() = %v (-want +got):\n%s", ok, diff)
			}
			l, err := ReadList([]byte(line(digest[:], tc.template, tc.texts...)))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(l.Binary(), appendEntry(nil, e)) || !l.View().List[0].Consistent {
				t.Errorf("the ASCII line gives\n%q, want\n%q", l.Binary(), appendEntry(nil, e))
			}
			// Data that does not fill its fields exactly is no file.
			for _, bad := range [][]byte{data[:len(data)-1], append(bytes.Clone(data), 0), nil} {
				e.Data = bad
				if f, ok := e.File(); ok {
					t.Errorf("data %q shows %+v", bad, f)
				}
			}
		})
	}
}

// Template "ima" lists its name without padding and hashes it with: the replay must not depend on the format.
func TestOldTemplate(t *testing.T) {
	file := sha1.Sum([]byte("content"))
	var padded [maxOldName + 1]byte
	copy(padded[:], "/bin/x")
	hashed := append(file[:], padded[:]...)
	digest := sha1.Sum(hashed)
	list := []byte(le32(PCR) + string(digest[:]) + le32(3) + "ima" + string(file[:]) + le32(6) + "/bin/x")
	text, err := ReadList([]byte(line(digest[:], "ima", hex.EncodeToString(file[:]), "/bin/x")))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text.Binary(), list) {
		t.Fatalf("from ASCII %q, want %q", text.Binary(), list)
	}
	for _, l := range [][]byte{list, append(bytes.Clone(list), golden...)} {
		s := NewScanner(l)
		if !s.Scan() {
			t.Fatal(s.Err())
		}
		e := s.Entry()
		f, ok := e.File()
		want := File{Path: "/bin/x", Algorithm: "sha1", Digest: file[:]}
		if diff := cmp.Diff(want, f); diff != "" || !ok || !e.Consistent() || s.Offset() != len(list) {
			t.Errorf("File() = %v, consistent %v (-want +got):\n%s", ok, e.Consistent(), diff)
		}
	}
	extended := sha256.Sum256(hashed)
	value := sha256.Sum256(append(make([]byte, 32), extended[:]...))
	if _, n, err := (State{}).Advance(list, pcr.SHA256, value[:], nil); n != 1 || err != nil {
		t.Errorf("Advance = %d, %v", n, err)
	}
}

func TestFileRejects(t *testing.T) {
	for _, tc := range []struct{ name, template, digest, path string }{
		{"no algorithm", "ima-ng", ":\x00DDDD", "/x\x00"},
		{"no separator", "ima-ng", strings.Repeat("D", 32), "/x\x00"},
		{"other size", "ima-ng", "sha256:\x00" + strings.Repeat("D", 20), "/x\x00"},
		{"no digest", "ima-ng", "foo:\x00", "/x\x00"},
		{"long digest", "ima-ng", "foo:\x00" + strings.Repeat("D", 65), "/x\x00"},
		{"terminal escape as algorithm", "ima-ng", "\x1b[1m:\x00D", "/x\x00"},
		{"long algorithm", "ima-ng", strings.Repeat("a", 33) + ":\x00D", "/x\x00"},
		{"type in ima-ng", "ima-ng", "verity:" + digestD, "/x\x00"},
		{"no type in ima-ngv2", "ima-ngv2", digestD, "/x\x00"},
		{"unknown type", "ima-ngv2", "magic:" + digestD, "/x\x00"},
		{"path without NUL", "ima-ng", digestD, "/x"},
		{"empty path field", "ima-ng", digestD, ""},
		{"NUL inside the path", "ima-ng", digestD, "/bin/good\x00evil\x00"},
		{"opaque template", "mine", digestD, "/x\x00"},
		{"opaque field", "d-ng|n-ng|mine", digestD, "/x\x00"},
		{"too many fields", "d-ng|n-ng" + strings.Repeat("|buf", 9), digestD, "/x\x00"},
	} {
		e := Entry{Template: tc.template, TemplateDigest: make([]byte, 20), Data: appendField(appendField(nil, tc.digest), tc.path)}
		e.TemplateDigest[0] = 1
		if f, ok := e.File(); ok {
			t.Errorf("%s: File() = %+v", tc.name, f)
		}
	}
	old := Entry{Template: "ima-ng", TemplateDigest: make([]byte, 20), Data: appendField(appendField(nil, "sha256:\x00"+strings.Repeat("\x00", 20)), "/x\x00")}
	if f, ok := old.File(); !ok || f.Path != "/x" {
		t.Errorf("a violation of an older kernel: File() = %+v, %v", f, ok)
	}
}

func TestField(t *testing.T) {
	e := Entry{Template: "ima-modsig", TemplateDigest: make([]byte, 20)}
	for _, v := range []string{digestD, "/m.ko\x00", "", digestM, "pkcs7"} {
		e.Data = appendField(e.Data, v)
	}
	if v, ok := e.Field("modsig"); !ok || string(v) != "pkcs7" {
		t.Errorf("Field(modsig) = %q, %v", v, ok)
	}
	if v, ok := e.Field("buf"); ok {
		t.Errorf("Field(buf) = %q", v)
	}
	e.Data = e.Data[:60]
	if v, ok := e.Field("d-ng"); ok {
		t.Errorf("Field of broken data = %q", v)
	}
}

func TestASCIIRejects(t *testing.T) {
	good := line(make([]byte, 20), "ima-ng", "sha256:00", "/x")
	for _, tc := range []struct{ name, line, want string }{
		{"no number", "x " + good, "PCR"},
		{"no such PCR", "24" + good[2:], "PCR"},
		{"short digest", "10 00 ima-ng sha256:00 /x\n", "template digest"},
		{"digest not hexadecimal", "10 " + strings.Repeat("g", 40) + " ima-ng sha256:00 /x\n", "template digest"},
		{"no fields", good[:43] + " ima-ng\n", "template name"},
		{"unknown template", strings.Replace(good, "ima-ng", "mine", 1), "use the binary list"},
		{"field missing", strings.Replace(good, " /x", "", 1), "want 2 fields, got 1"},
		{"field too much", strings.Replace(good, " /x", " /x y", 1), "want 2 fields, got 3"},
		{"odd digits", strings.Replace(good, ":00", ":000", 1), "hexadecimal"},
		{"NUL", strings.Replace(good, "/x", "/\x00x", 1), "NUL"},
		{"old digest", good[:43] + " ima 00 /x\n", "field d"},
		{"old name", good[:43] + " ima " + strings.Repeat("00", 20) + " " + strings.Repeat("n", 256) + "\n", "field n"},
		{"empty line", "\n", "PCR"},
	} {
		_, err := ReadList([]byte(good + tc.line))
		var parse *ParseError
		if !errors.As(err, &parse) || parse.Entry != 1 || parse.Offset != len(good) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want entry 1: ...%s...", tc.name, err, tc.want)
		}
	}
	if l, err := ReadList([]byte(strings.TrimSuffix(good, "\n"))); err != nil || l.Len() != 1 {
		t.Errorf("a list without its last line feed: %v", err)
	}
	if l, err := ReadList(nil); err != nil || l.Len() != 0 {
		t.Errorf("an empty list: %v", err)
	}
	if _, err := ReadList(make([]byte, MaxList+1)); err == nil {
		t.Error("a list over MaxList is read")
	}
}

func TestViewJSON(t *testing.T) {
	list := build(t, 2, 1)
	list = append(list, appendEntry(nil, Entry{PCR: 11, Template: "mine", TemplateDigest: bytes.Repeat([]byte{1}, 20), Data: []byte("opaque")})...)
	l, err := ReadList(list)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Entries, Violations int
		PCRs                map[string]map[string]string
		List                []map[string]any
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := hex.EncodeToString(quote(t, list, pcr.SHA256, Recomputed))
	if got.Entries != 4 || got.Violations != 1 || len(got.List) != 4 || got.PCRs["10"]["sha256"] != want ||
		len(got.PCRs["11"]["sha1"]) != 40 || got.List[3]["data"] != hex.EncodeToString([]byte("opaque")) {
		t.Errorf("view %s", b)
	}
}

func TestDigest(t *testing.T) {
	e := Entry{PCR: PCR, Template: "ima-ng", TemplateDigest: make([]byte, 20), Data: []byte("x")}
	full, short := bytes.Repeat([]byte{0xff}, 32), append(bytes.Repeat([]byte{0xff}, 20), make([]byte, 12)...)
	sum := sha256.Sum256(e.Data)
	named := e
	named.TemplateDigest = bytes.Repeat([]byte{7}, 20)
	for _, tc := range []struct {
		e    Entry
		m    Mode
		want []byte
	}{
		{e, Recomputed, full},
		{e, Padded, full},
		{e, PaddedShort, short},
		{named, Recomputed, sum[:]},
		{named, Padded, append(bytes.Repeat([]byte{7}, 20), make([]byte, 12)...)},
	} {
		if got, err := tc.e.Digest(pcr.SHA256, tc.m); err != nil || !bytes.Equal(got, tc.want) {
			t.Errorf("Digest(%s) = %x, %v, want %x", tc.m, got, err, tc.want)
		}
	}
	if _, err := e.Digest(pcr.SM3, Recomputed); err == nil {
		t.Error("Digest in SM3 works")
	}
	if _, err := Replay(nil, pcr.SM3, Recomputed); err == nil {
		t.Error("Replay in SM3 works")
	}
	if (Entry{}).Consistent() || (Entry{}).Violation() {
		t.Error("the zero entry is consistent or a violation")
	}
}
