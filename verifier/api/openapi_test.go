package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/api"
)

var update = flag.Bool("update", false, "write openapi.json")

// description returns what the API says of itself.
func description(t *testing.T) []byte {
	t.Helper()
	h := newHarness(t, func(c *api.Config) { c.Version = "1" })
	w := h.do("GET", "/v1/openapi.json", "")
	if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || !strings.HasPrefix(got, "application/vnd.oai.openapi+json") {
		t.Fatalf("openapi.json: status %d, type %s", w.Code, got)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, w.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(bytes.TrimSpace(b.Bytes()), '\n')
}

// The committed description is the API's. A change of the API must show in it.
func TestOpenAPIFile(t *testing.T) {
	got := description(t)
	if *update {
		if err := os.WriteFile("openapi.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("openapi.json is not what the API does (-file +API):\n%s\nif that is meant: go test ./verifier/api -run TestOpenAPIFile -update",
			diff[:min(len(diff), 4000)])
	}
}

// operation is what a test reads of the description.
type operation struct {
	ID         string `json:"operationId"`
	Summary    string `json:"summary"`
	Parameters []struct {
		Name, In string
		Required bool
	} `json:"parameters"`
	Responses map[string]struct {
		Content map[string]struct {
			Schema map[string]any `json:"schema"`
		} `json:"content"`
	} `json:"responses"`
}

// The description is of version 3.1, has every route of the API and no other, each with an id of its own, and every
// reference in it leads somewhere.
func TestOpenAPIIsComplete(t *testing.T) {
	raw := description(t)
	var doc struct {
		OpenAPI    string                          `json:"openapi"`
		Paths      map[string]map[string]operation `json:"paths"`
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("openapi = %q, want 3.1", doc.OpenAPI)
	}
	described, ids := map[string]bool{}, map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			route := strings.ToUpper(method) + " " + path
			described[route] = true
			if op.ID == "" || op.Summary == "" || ids[op.ID] != "" {
				t.Errorf("%s has the id %q (of %s too) and the summary %q", route, op.ID, ids[op.ID], op.Summary)
			}
			ids[op.ID] = route
			checkOperation(t, route, op)
		}
	}
	// Those that are no documents for clients of the API.
	for _, route := range []string{"GET /v1/openapi.json", "GET /metrics", "GET /healthz"} {
		described[route] = true
	}
	routes := map[string]bool{}
	for _, route := range api.Patterns(newHarness(t).Handler) {
		if !strings.Contains(route, "/auth/") { // pages for browsers
			routes[route] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(routes)), slices.Sorted(maps.Keys(described))); diff != "" {
		t.Errorf("routes and description differ (-routes +described):\n%s", diff)
	}
	for rest := string(raw); ; {
		_, after, found := strings.Cut(rest, `"$ref": "#/components/schemas/`)
		if !found {
			break
		}
		name, _, _ := strings.Cut(after, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("reference to the schema %q, which is not there", name)
		}
		rest = after
	}
}

// checkOperation checks what every operation of a kind must say.
func checkOperation(t *testing.T, route string, op operation) {
	t.Helper()
	has := func(name string) bool {
		for _, p := range op.Parameters {
			if p.Name == name && p.In == "header" {
				return true
			}
		}
		return false
	}
	method, path, _ := strings.Cut(route, " ")
	if method != "GET" && !api.IsOpen(route) && !has("Idempotency-Key") {
		t.Errorf("%s does not say that it takes an Idempotency-Key", route)
	}
	for name := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(name, "{") && !slices.ContainsFunc(op.Parameters, func(p struct {
			Name, In string
			Required bool
		},
		) bool {
			return p.In == "path" && "{"+p.Name+"}" == name && p.Required
		}) {
			t.Errorf("%s does not describe %s", route, name)
		}
	}
	for status, response := range op.Responses {
		for kind, content := range response.Content {
			if kind != "application/problem+json" {
				continue
			}
			if ref := content.Schema["$ref"]; ref != "#/components/schemas/Problem" || status < "4" {
				t.Errorf("%s answers status %s with %v, want a Problem", route, status, ref)
			}
		}
	}
}
