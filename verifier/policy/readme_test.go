package policy

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestReadme: the reference names every key, every kind and every fact, and its example compiles.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	var want []string
	for key := range (field{parser: &parser{}}).readers(&settings{}) {
		want = append(want, "| `"+key+"` |")
	}
	for kind, code := range unavailables {
		want = append(want, "| `"+kind+"` | `"+code+"` |")
	}
	for _, key := range []string{"version", "name", "default", "groups", "waivers"} {
		want = append(want, "| `"+key+"` |")
	}
	for _, facts := range []reflect.Type{
		reflect.TypeFor[deviceFacts](), reflect.TypeFor[resultFacts](), reflect.TypeFor[claimsFacts](),
		reflect.TypeFor[findingFacts](), reflect.TypeFor[regionFacts](),
	} {
		for i := range facts.NumField() {
			want = append(want, facts.Field(i).Tag.Get("cel")+"`")
		}
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("README.md does not have %s", w)
		}
	}
	_, rest, _ := strings.Cut(text, "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("README.md has no example")
	}
	d, err := Compile([]byte(example), 1, builtin())
	if err != nil {
		t.Fatalf("the example: %v", err)
	}
	core := edge()
	core.Group = "edge-7"
	if in := d.For(core); in.Group != "core" || in.Policy.Endorsers["vendor"] != 1 || in.Policy.Endorsers["lab"] != 1 {
		t.Errorf("the example gives group %s, endorsers %v", in.Group, in.Policy.Endorsers)
	}
}
