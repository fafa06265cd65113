package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// auditPages registers the log of who did or saw what.
func (s *server) auditPages() {
	s.get("GET /audit", "list-audit", (*page).audit)
	s.get("GET /audit/export", "export-audit", (*page).exportAudit)
}

// auditView is a page of the log.
type auditView struct {
	v1.Audit
	Filtered bool
	Export   string // address of the export of what is shown
}

// auditFilters are the parameters that the API takes as they are.
var auditFilters = []string{"actor", "action", "object"}

// auditQuery returns the filter that the page's address has, as the API wants it.
func (p *page) auditQuery() (url.Values, error) {
	out := url.Values{}
	for _, name := range auditFilters {
		if s := strings.TrimSpace(p.r.URL.Query().Get(name)); s != "" {
			out.Set(name, s)
		}
	}
	for _, name := range []string{"from", "to"} {
		t, err := p.day(name)
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		if name == "to" && len(p.r.URL.Query().Get(name)) == len("2006-01-02") {
			*t = t.Add(24 * time.Hour) // people mean the whole day
		}
		out.Set(name, t.Format(time.RFC3339))
	}
	return out, nil
}

func (p *page) audit() error {
	query, err := p.auditQuery()
	if err != nil {
		return err
	}
	v := auditView{Filtered: len(query) > 0, Export: withQuery("/audit/export", without(p.r.URL.Query(), cursors...))}
	if s := p.r.URL.Query().Get("before"); s != "" {
		query.Set("before", s)
	}
	if err := p.api(http.MethodGet, withQuery("/v1/audit", query), nil, &v.Audit); err != nil {
		return err
	}
	return p.show("audit", "Audit log", &v)
}

func (p *page) exportAudit() error {
	query, err := p.auditQuery()
	if err != nil {
		return err
	}
	return p.forward(withQuery("/v1/audit/export", query))
}

// Words says an entry's action in words: ids of operations are made of them.
func (v *auditView) Words(action string) string {
	return upperFirst(strings.ReplaceAll(action, "-", " "))
}

// Brief is an object with the ids and digests in it cut short.
func (v *auditView) Brief(object string) string {
	return longID.ReplaceAllStringFunc(object, func(id string) string { return id[:briefID] + "…" })
}

// longID finds what is too long to read: ids of devices, and digests.
var longID = regexp.MustCompile(`[0-9a-f]{32,}`)

const briefID = 12

// Page returns the page of ours that shows the object of an entry, empty where there is none.
func (v *auditView) Page(object string) string {
	object, _, _ = strings.Cut(object, "?")
	parts := strings.Split(strings.TrimPrefix(object, "/v1/"), "/")
	if len(parts) < 2 || !strings.HasPrefix(object, "/v1/") || parts[1] == "" {
		return ""
	}
	switch parts[0] {
	case "devices", "manifests":
		name, err := url.PathUnescape(parts[1])
		if err != nil || name == "bulk" || name == "export" || name == "." || name == ".." {
			return ""
		}
		return pathTo(parts[0], name)
	}
	return ""
}
