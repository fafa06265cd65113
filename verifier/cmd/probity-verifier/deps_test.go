package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// module is the prefix of our own packages.
const module = "github.com/probity-attest/probity/"

// layer is where a package stands: imports run from a higher layer to a lower one only.
type layer struct {
	level int
	why   string
}

// layers has every package that ships. A new one needs a row here: what may it know, who may know it?
var layers = map[string]layer{
	"proto":             {0, "the wire: both sides speak it, so it knows neither"},
	"proto/daemon":      {0, "what both daemons do alike towards people and systemd"},
	"firmware/pcr":      {0, "arithmetic of digests"},
	"firmware/eventlog": {1, "a log is replayed into PCRs"},
	"firmware/ima":      {1, "a list is replayed into a PCR"},
	"firmware/hostfs":   {0, "a machine's files, whoever looks at them"},
	"firmware/flash":    {1, "reads flash, compares nothing"},

	"firmware/image/pecoff":     {1, "digests of programs as PCRs hold them"},
	"firmware/image/devicetree": {0, "a format of containers"},
	"firmware/image/unpack":     {0, "decompression"},
	"firmware/image":            {2, "splits images into what its parts understand"},
	"firmware/predict":          {3, "says of images what a log would say of their boot"},

	"firmware/manifest/corim":  {0, "the standard's format: no profile, no PCRs"},
	"firmware/manifest":        {1, "reference values by PCR"},
	"firmware/manifest/tcgrim": {2, "turns another format into manifests"},
	"firmware/shipment/rootfs": {2, "files of root file systems as manifests list them"},
	"firmware/shipment":        {4, "turns what vendors ship into manifests, by all of the above"},

	"agent/charter": {2, "what may leave, by the names that the wire gives it"},
	"agent/collect": {2, "reads what the firmware packages parse"},
	"agent/tpm":     {2, "quotes PCRs; knows no message"},
	"agent/link":    {2, "converses by the wire alone: what is reported is not its affair"},
	"agent":         {7, "wiring only"},

	"verifier/audit":        {2, "the form of the audit log, for whoever keeps or checks one"},
	"verifier/challenge":    {2, "nonces: no device, no store"},
	"verifier/result":       {2, "says an outcome, decides nothing"},
	"verifier/reference":    {2, "reference values for look-up, wherever they are kept"},
	"verifier/authority":    {2, "issues certificates, does not know to whom or why"},
	"verifier/api/v1":       {3, "vocabulary that clients share with the server: data only"},
	"verifier/linediff":     {2, "differences of texts, whatever they say"},
	"verifier/relyingparty": {3, "who relies on results: knows how one is signed, and no verifier"},
	"verifier/appraise":     {3, "pure: everything that it needs is handed to it, never a store or a clock"},

	"verifier/inspect":      {4, "explains what was appraised, purely; what it returns is documents of the API"},
	"verifier/policy":       {4, "documents compiled to what an appraisal asks for; pure, wherever they are kept"},
	"verifier/store":        {4, "keeps what was decided"},
	"verifier/store/sqlite": {4, "is a store"},
	"verifier/broker":       {4, "lets messages through, does not read them"},
	"verifier/link":         {4, "delivers messages to a handler that it does not know"},
	// DESIGN, section 2, has it in layer 2. It reads and writes devices and tokens, so it stands above the store.
	"verifier/enroll": {5, "lets devices in"},
	"verifier/access": {5, "lets people in; what they may do is not its affair"},
	"verifier/fleet":  {5, "leads devices by the parts below"},
	"verifier/notify": {5, "tells people what the store says of devices; leads none"},
	"verifier/api":    {6, "shows the fleet to operators"},
	"verifier/web":    {6, "shows people what the API says; knows its vocabulary, not the API"},
	"verifier":        {7, "wiring only"},

	"agent/cmd/probity-agent":       {8, "program"},
	"verifier/cmd/probity-verifier": {8, "program"},
	"verifier/cmd/probity":          {8, "program: of the verifier it knows the vocabulary, not the server"},
}

// sideways are imports within a layer.
var sideways = map[string]string{
	"verifier/store/sqlite verifier/store": "an implementation knows its interface",
}

// support reports whether a package only serves tests and demonstrations. These may import anything, and no program may
// import them: real TPMs, brokers and devices are better tested with the parts of the other side.
func support(path string) bool {
	last := path[strings.LastIndex(path, "/")+1:]
	return strings.HasSuffix(last, "test") || path == "verifier/e2e" || strings.HasPrefix(path, "verifier/e2e/")
}

// imports is what one package imports of ours, without the module's prefix.
type imports struct{ code, tests []string }

// list runs go list on the whole module.
func list(t *testing.T) map[string]imports {
	t.Helper()
	const format = `{{.ImportPath}};{{join .Imports " "}};{{join .TestImports " "}} {{join .XTestImports " "}}`
	cmd := exec.Command("go", "list", "-f", format, "./...")
	cmd.Dir = "../../.."
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	ours := func(paths string) (out []string) {
		for p := range strings.FieldsSeq(paths) {
			if rest, ok := strings.CutPrefix(p, module); ok {
				out = append(out, rest)
			}
		}
		return out
	}
	all := map[string]imports{}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ";")
		all[strings.TrimPrefix(f[0], module)] = imports{ours(f[1]), ours(f[2])}
	}
	if len(all) < len(layers) {
		t.Errorf("go list found %d packages, want at least the %d that are known", len(all), len(layers))
	}
	return all
}

// side returns "agent", "verifier", "firmware" or "proto".
func side(path string) string {
	s, _, _ := strings.Cut(path, "/")
	return s
}

func TestImportsRunDownwards(t *testing.T) {
	all := list(t)
	for path, of := range all {
		if support(path) {
			continue
		}
		from, known := layers[path]
		if !known {
			t.Errorf("%s has no layer: give it a row in this test, with the reason (DESIGN, section 2)", path)
			continue
		}
		for _, to := range of.code {
			switch l, known := layers[to]; {
			case support(to):
				t.Errorf("%s imports %s, which only tests may", path, to)
			case !known: // said above
			case l.level > from.level, l.level == from.level && sideways[path+" "+to] == "":
				t.Errorf("%s (layer %d: %s) imports %s (layer %d: %s)", path, from.level, from.why, to, l.level, l.why)
			}
		}
	}
	for path := range layers {
		if _, ok := all[path]; !ok {
			t.Errorf("%s has a layer and does not exist", path)
		}
	}
	for pair := range sideways {
		from, to, _ := strings.Cut(pair, " ")
		if !slices.Contains(all[from].code, to) {
			t.Errorf("%s does not import %s any more", from, to)
		}
	}
}

// TestSides: an agent needs no verifier and a verifier no agent; the wire and the firmware need neither, even in tests.
func TestSides(t *testing.T) {
	forbidden := map[string][]string{
		"proto":    {"agent", "verifier", "firmware"},
		"firmware": {"agent", "verifier"},
		"agent":    {"verifier"},
		"verifier": {"agent"},
	}
	for path, of := range list(t) {
		if support(path) && side(path) != "firmware" && side(path) != "proto" {
			continue
		}
		checked := slices.Clone(of.code)
		if s := side(path); s == "proto" || s == "firmware" {
			checked = append(checked, of.tests...)
		}
		for _, to := range checked {
			if slices.Contains(forbidden[side(path)], side(to)) {
				t.Errorf("%s imports %s", path, to)
			}
		}
	}
}

// TestLowLayersAreTestedAlone: tests of the wire and of the firmware import nothing above what they test.
func TestLowLayersAreTestedAlone(t *testing.T) {
	for path, of := range list(t) {
		if s := side(path); s != "proto" && s != "firmware" || support(path) {
			continue
		}
		for _, to := range of.tests {
			if to != path && !support(to) && layers[to].level >= layers[path].level {
				t.Errorf("a test of %s (layer %d) imports %s (layer %d)", path, layers[path].level, to, layers[to].level)
			}
		}
	}
}

// TestDependencies: what is linked into the program, directly or not.
func TestDependencies(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is built
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(b))
	if len(deps) < 100 {
		t.Fatalf("only %d dependencies listed", len(deps))
	}
	for _, d := range deps {
		if rest, ok := strings.CutPrefix(d, module); ok && (side(rest) == "agent" || support(rest)) {
			t.Errorf("the verifier depends on %s", rest)
		}
		for forbidden, why := range map[string]string{
			"testing":                     "tests only",
			"net/http/pprof":              "shows memory, and with it secrets, to whoever asks",
			"github.com/mattn/go-sqlite3": "needs cgo: the program must be static",
			"runtime/cgo":                 "the program must be static",
			"plugin":                      "the verifier loads nothing",
			"github.com/rogpeppe":         "tests only",
			"github.com/google/go-cmp":    "tests only",
		} {
			if d == forbidden || strings.HasPrefix(d, forbidden+"/") {
				t.Errorf("the verifier depends on %s: %s", d, why)
			}
		}
	}
}
