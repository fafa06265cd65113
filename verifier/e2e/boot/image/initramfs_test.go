package image

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cpioEntry is an entry as the kernel reads it.
type cpioEntry struct {
	Mode         uint32
	Major, Minor uint32
	Data         string
}

// readCPIO reads an archive as Linux' init/initramfs.c does, and fails where that would.
func readCPIO(t *testing.T, packed []byte) (names []string, entries map[string]cpioEntry) {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if !zr.ModTime.IsZero() || zr.Name != "" {
		t.Errorf("gzip header has time %v and name %q, want neither", zr.ModTime, zr.Name)
	}
	b, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	entries = make(map[string]cpioEntry)
	for at := 0; ; {
		if len(b)-at < 110 || string(b[at:at+6]) != "070701" {
			t.Fatalf("offset %d: no header", at)
		}
		var field [13]uint32
		for i := range field {
			raw, err := hex.DecodeString(string(b[at+6+8*i:][:8]))
			if err != nil {
				t.Fatalf("offset %d: %v", at, err)
			}
			field[i] = uint32(raw[0])<<24 | uint32(raw[1])<<16 | uint32(raw[2])<<8 | uint32(raw[3])
		}
		mode, size, nameSize := field[1], int(field[6]), int(field[11])
		name := string(b[at+110:][:nameSize-1])
		if name == "TRAILER!!!" {
			return names, entries
		}
		if uid, gid, time := field[2], field[3], field[5]; uid|gid|time != 0 {
			t.Errorf("%s: owner %d, group %d, time %d, want 0", name, uid, gid, time)
		}
		at = (at + 110 + nameSize + 3) &^ 3
		entries[name] = cpioEntry{mode, field[9], field[10], string(b[at : at+size])}
		names = append(names, name)
		at = (at + size + 3) &^ 3
	}
}

func TestInitramfs(t *testing.T) {
	spec := Spec{
		Init: []byte("the init"), Agent: []byte("the agent"),
		Modules: []Module{
			{Name: "mtd", Data: []byte("elf 1")}, {Name: "phram", Params: "phram=a,0x1,0x2", Data: []byte("elf 2")},
		},
		Files: []File{{Path: "/etc/a/b/c", Mode: 0o600, Data: []byte("x")}, {Path: "/etc/a/d"}},
	}
	packed, err := Initramfs(spec)
	if err != nil {
		t.Fatal(err)
	}
	names, got := readCPIO(t, packed)
	want := map[string]cpioEntry{
		"init":                  {Mode: 0o100755, Data: "the init"},
		"usr/bin/probity-agent": {Mode: 0o100755, Data: "the agent"},
		"lib/modules/mtd.ko":    {Mode: 0o100644, Data: "elf 1"},
		"lib/modules/phram.ko":  {Mode: 0o100644, Data: "elf 2"},
		"lib/modules/order":     {Mode: 0o100644, Data: "mtd.ko\nphram.ko phram=a,0x1,0x2\n"},
		"etc/a/b/c":             {Mode: 0o100600, Data: "x"},
		"etc/a/d":               {Mode: 0o100755},
		"etc/a":                 {Mode: 0o040755},
		"etc/a/b":               {Mode: 0o040755},
		"dev/console":           {Mode: 0o020600, Major: 5, Minor: 1},
		"dev/null":              {Mode: 0o020666, Major: 1, Minor: 3},
	}
	for _, dir := range folders {
		want[dir[1:]] = cpioEntry{Mode: 0o040755}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Initramfs (-want +got):\n%s", diff)
	}
	// The kernel makes no folders by itself.
	seen := map[string]bool{".": true}
	for _, name := range names {
		if dir := parent(name); !seen[dir] {
			t.Errorf("%s stands before its folder %s", name, dir)
		}
		seen[name] = true
	}

	again, err := Initramfs(spec)
	if err != nil || !bytes.Equal(packed, again) {
		t.Errorf("Initramfs of equal input gives other bytes (error %v)", err)
	}
	spec.Agent = []byte("the agent.")
	if other, err := Initramfs(spec); err != nil || bytes.Equal(packed, other) {
		t.Errorf("Initramfs with another agent gives equal bytes (error %v)", err)
	}
}

func parent(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[:i]
		}
	}
	return "."
}

func TestInitramfsInvalid(t *testing.T) {
	_, err := Initramfs(Spec{})
	wantError(t, "Initramfs without init", err, "no init")
	for _, f := range []File{
		{Path: "etc/x"},
		{Path: "/"},
		{Path: ""},
		{Path: "/etc/../x"},
		{Path: "/etc/x/"},
		{Path: "/x", Mode: fs.ModeDir | 0o755},
		{Path: "/init"},
		{Path: "/usr/bin"},
		{Path: "/dev/console"},
		{Path: ModuleOrder},
	} {
		packed, err := Initramfs(Spec{Init: []byte("x"), Files: []File{f}})
		wantError(t, fmt.Sprintf("Initramfs with file %+v", f), err, fmt.Sprintf("%q", f.Path))
		if packed != nil {
			t.Errorf("Initramfs with file %+v: bytes with an error", f)
		}
	}
}
