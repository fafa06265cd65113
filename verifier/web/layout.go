package web

import (
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

//go:embed all:templates
var templateFiles embed.FS

// parse returns one template per page: files whose names begin with _ belong to every page.
func (s *server) parse() (map[string]*template.Template, error) {
	base, err := template.New("").Funcs(s.funcs()).ParseFS(templateFiles, "templates/_*.html")
	if err != nil {
		return nil, fmt.Errorf("web: templates: %w", err)
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err // the pattern is constant
	}
	out := map[string]*template.Template{}
	for _, file := range names {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if strings.HasPrefix(name, "_") {
			continue
		}
		t, err := template.Must(base.Clone()).ParseFS(templateFiles, file)
		if err != nil {
			return nil, fmt.Errorf("web: template of page %s: %w", name, err)
		}
		out[name] = t
	}
	return out, nil
}

// view is what templates see.
type view struct {
	*page
	Title  string
	Name   string // of the template
	Data   any
	Notice notice
	Now    time.Time
}

// Me is who asks; its Name is empty where nobody is signed in.
func (v *view) Me() v1.Me { return v.me }

// Can reports whether the person may use an operation of the API, as far as the page should offer it.
func (v *view) Can(operation string) bool { return v.can(operation) }

// Version is the verifier's.
func (v *view) Version() string { return v.page.Version }

// Path is the address of the page without its query.
func (v *view) Path() string { return v.r.URL.Path }

// Address is the address of the page with its query.
func (v *view) Address() string { return v.r.URL.RequestURI() }

// Theme is light, dark, or empty: as the browser prefers.
func (v *view) Theme() string {
	if c, err := v.r.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return ""
}

// Live reports whether the page may follow what happens.
func (v *view) Live() bool { return v.can("get-stream") }

// Get returns a parameter of the page's address.
func (v *view) Get(name string) string { return v.r.URL.Query().Get(name) }

// Has reports whether a parameter of the page's address has the value.
func (v *view) Has(name, value string) bool { return slices.Contains(v.r.URL.Query()[name], value) }

// cursors are parameters that name a place in a list: they end when the list changes.
var cursors = []string{"after", "before"}

// With returns the page's address with a parameter set, or removed where value is empty, from its first page on.
func (v *view) With(name, value string) string {
	query := without(v.r.URL.Query(), cursors...)
	if query.Del(name); value != "" {
		query.Set(name, value)
	}
	return withQuery(v.r.URL.Path, query)
}

// Toggle returns the page's address with one value of a parameter that repeats added, or removed if it is there.
func (v *view) Toggle(name, value string) string {
	query := without(v.r.URL.Query(), cursors...)
	if values := query[name]; slices.Contains(values, value) {
		query[name] = slices.DeleteFunc(slices.Clone(values), func(s string) bool { return s == value })
	} else {
		query.Add(name, value)
	}
	return withQuery(v.r.URL.Path, query)
}

// Page returns the page's address at a cursor: parameter after or before.
func (v *view) Page(name string, cursor any) string {
	query := without(v.r.URL.Query(), cursors...)
	query.Set(name, fmt.Sprint(cursor))
	return withQuery(v.r.URL.Path, query)
}

// First returns the page's address at its first page, empty if that is where it is.
func (v *view) First() string {
	query := v.r.URL.Query()
	if !slices.ContainsFunc(cursors, query.Has) {
		return ""
	}
	return withQuery(v.r.URL.Path, without(query, cursors...))
}

func without(query url.Values, names ...string) url.Values {
	for _, n := range names {
		query.Del(n)
	}
	return query
}

// section is a group of pages in the navigation.
type section struct {
	Name  string
	Pages []link
}

// link is a page in the navigation.
type link struct {
	Name, Path, Icon string
	operation        string // who may use it sees the page
}

// navigation is all pages; people see those that they may.
var navigation = []section{
	{"Monitor", []link{
		{"Fleet", "/", "fleet", "get-fleet-summary"},
		{"Devices", "/devices", "device", "list-devices"},
		{"Alerts", "/alerts", "bell", "list-alerts"},
		{"Search", "/search", "search", "search"},
	}},
	{"Trust", []link{
		{"Manifests", "/manifests", "manifest", "list-manifests"},
		{"Vendors", "/vendors", "vendor", "list-vendor-keys"},
		{"Policy", "/policy", "policy", "get-policy"},
	}},
	{"Administer", []link{
		{"Audit log", "/audit", "audit", "list-audit"},
		{"Accounts", "/accounts", "account", "list-accounts"},
		{"Tokens", "/tokens", "token", "list-tokens"},
	}},
}

// Navigation is the pages that this person may see.
func (v *view) Navigation() []section {
	var out []section
	for _, s := range navigation {
		shown := section{Name: s.Name}
		for _, l := range s.Pages {
			if v.can(l.operation) {
				shown.Pages = append(shown.Pages, l)
			}
		}
		if len(shown.Pages) > 0 {
			out = append(out, shown)
		}
	}
	return out
}

// belongs has the entries of the navigation for pages whose paths do not begin like theirs.
var belongs = map[string]string{"bulk": "/devices", "baselines": "/manifests", "denylist": "/manifests", "dry-runs": "/manifests"}

// Here reports whether the page belongs to an entry of the navigation.
func (v *view) Here(path string) bool {
	at := v.r.URL.Path
	if first, _, _ := strings.Cut(strings.TrimPrefix(at, "/"), "/"); belongs[first] != "" {
		at = belongs[first]
	}
	return at == path || path != "/" && strings.HasPrefix(at, path+"/")
}
