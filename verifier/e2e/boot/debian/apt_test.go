package debian

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnyArchitecture(t *testing.T) {
	const text = `# the distribution
Types: deb deb-src
URIs: http://archive.example/debian
Suites: stable stable-updates
Architectures: amd64
 i386
Components: main
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://archive.example/security
Suites: stable-security
Components: main
`
	const want = `Types: deb
URIs: http://archive.example/debian
Suites: stable stable-updates
Components: main
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://archive.example/security
Suites: stable-security
Components: main
`
	if got := anyArchitecture(text); got != want {
		t.Errorf("anyArchitecture = %q, want %q", got, want)
	}
}

func TestAnyArchitectureList(t *testing.T) {
	for line, want := range map[string]string{
		"deb http://a/debian stable main":                          "deb http://a/debian stable main\n",
		"deb\thttp://a/debian stable main contrib":                 "deb http://a/debian stable main contrib\n",
		"deb [arch=amd64] http://a/debian stable main":             "deb http://a/debian stable main\n",
		"deb [ arch=amd64 signed-by=/k ] http://a/ stable main":    "deb [signed-by=/k] http://a/ stable main\n",
		"deb [signed-by=/k arch+=i386] http://a/ stable main":      "deb [signed-by=/k] http://a/ stable main\n",
		"deb-src http://a/debian stable main":                      "",
		"# deb http://a/debian stable main":                        "",
		"deb":                                                      "",
		"":                                                         "",
		"deb [trusted=yes] http://a/ x main\ndeb http://b/ y main": "deb [trusted=yes] http://a/ x main\ndeb http://b/ y main\n",
	} {
		if got := anyArchitectureList(line); got != want {
			t.Errorf("anyArchitectureList(%q) = %q, want %q", line, got, want)
		}
	}
}

func TestReadSources(t *testing.T) {
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "a.sources"), filepath.Join(dir, "b.list")}
	if _, _, err := readSources(paths); err == nil || !strings.Contains(err.Error(), "Debian and its kind") {
		t.Errorf("readSources of none = %v, want an error that says where packages are fetched", err)
	}
	write(t, paths[1], "deb http://a/ stable main\n")
	if name, text, err := readSources(paths); err != nil || name != "distribution.list" || text != "deb http://a/ stable main\n" {
		t.Errorf("readSources = %q, %q, %v, want the list", name, text, err)
	}
	write(t, paths[0], "# moved\n")
	if name, _, err := readSources(paths); err != nil || name != "distribution.list" {
		t.Errorf("readSources with an empty first = %q, %v, want the list", name, err)
	}
	write(t, paths[0], "Types: deb\nURIs: http://b/\n")
	if name, _, err := readSources(paths); err != nil || name != "distribution.sources" {
		t.Errorf("readSources = %q, %v, want the newer form", name, err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestParseDepends(t *testing.T) {
	for out, want := range map[string]string{
		"linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n":                        "linux-image-6.1.0-56-amd64",
		"m\n  Depends: linux-base\n |Depends: x\n  Depends: linux-image-6.12-arm64:arm64\n": "linux-image-6.12-arm64",
		"m\n  Depends: linux-image-generic\n":                                               "",
		"m\n  Depends: linux-image-\n":                                                      "",
		"linux-image-6.1\n":                                                                 "",
		"":                                                                                  "",
	} {
		if got := parseDepends([]byte(out)); got != want {
			t.Errorf("parseDepends(%q) = %q, want %q", out, got, want)
		}
	}
}

func TestComplaint(t *testing.T) {
	for stderr, want := range map[string]string{
		"":                                   "it said nothing",
		"a\nb\n":                             "a; b",
		"a\nE: b\nW: c\nE: d\n":              "E: b; E: d",
		"1\n2\n3\n4\n5\n":                    "2; 3; 4; 5",
		"x\ndpkg-deb: error: no space\nlast": "dpkg-deb: error: no space",
		"E: 1\nE: 2\nE: 3\nE: 4\nE: 5\nE: 6": "E: 1; E: 2; E: 3; E: 4",
	} {
		if got := complaint([]byte(stderr)); got != want {
			t.Errorf("complaint(%q) = %q, want %q", stderr, got, want)
		}
	}
}
