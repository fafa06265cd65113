package web_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Pages offer what the API lets a role do, by the ids of its operations: a wrong id would hide a page from everybody.
func TestOperationsExist(t *testing.T) {
	table, err := os.ReadFile("../api/roles.go")
	must(t, err)
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\t"([a-z-]+)":\s+\{roles`).FindAllSubmatch(table, -1) {
		known[string(m[1])] = true
	}
	if len(known) < 50 {
		t.Fatalf("%d operations in the API's table: the test does not read it any more", len(known))
	}
	var files []string
	for _, pattern := range []string{"*.go", "templates/*.html"} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		files = append(files, found...)
	}
	used := 0
	// As the second argument of get, in can and Can, and beside the address of a tab or of a page in the navigation.
	inCode := regexp.MustCompile(`(?:s\.get\("GET [^"]+", |\.can\(|\.Can |\{"[^"]+", "(?:/[a-z/]*)?", (?:"[a-z]+", )?)"([a-z-]+)"`)
	comments := regexp.MustCompile(`(?m)^\s*//.*$`)
	for _, name := range files {
		b, err := os.ReadFile(name)
		must(t, err)
		for _, m := range inCode.FindAllSubmatch(comments.ReplaceAll(b, nil), -1) {
			used++
			if id := string(m[1]); !known[id] {
				t.Errorf("%s asks for operation %q, which the API does not have", name, id)
			}
		}
	}
	if used < 100 {
		t.Errorf("%d uses of operations were found: the test does not see them any more", used)
	}
}
