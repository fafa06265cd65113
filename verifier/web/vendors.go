package web

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// vendorPages registers the page of keys that may sign manifests.
func (s *server) vendorPages() {
	s.get("GET /vendors", "list-vendor-keys", (*page).vendors)
	s.get("GET /vendors/{id}", "list-vendor-keys", (*page).vendor)
	s.post("POST /vendors", (*page).addVendorKey)
	s.post("POST /vendors/{id}/scope", (*page).scopeVendorKey)
	s.post("POST /vendors/{id}/revoke", (*page).revokeVendorKey)
}

// keyRow is one key.
type keyRow struct {
	*v1.VendorKey
	State, Class string // in words
	Scope        scopeFields
}

// scopeFields is what a key may sign, as the fields of a form have it.
type scopeFields struct{ Vendors, Models, From, Until string }

// vendorsView is all keys.
type vendorsView struct {
	Keys  []keyRow
	Empty scopeFields // of a key that is added
}

func dateField(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05")
}

func (p *page) readKeys() (*vendorsView, error) {
	var list v1.VendorKeys
	if err := p.api(http.MethodGet, "/v1/vendors", nil, &list); err != nil {
		return nil, err
	}
	v := &vendorsView{}
	for i := range list.Keys {
		v.Keys = append(v.Keys, keyRowOf(&list.Keys[i], p.Now()))
	}
	return v, nil
}

// keyRowOf says where a key stands at a time.
func keyRowOf(k *v1.VendorKey, now time.Time) keyRow {
	row := keyRow{VendorKey: k, State: "in force", Class: "ok"}
	row.Scope = scopeFields{
		strings.Join(k.Vendors, ", "), strings.Join(k.Models, ", "), dateField(k.From),
		dateField(k.Until),
	}
	switch {
	case k.Revoked != nil:
		row.State, row.Class = "revoked", "failed"
	case k.From != nil && now.Before(*k.From):
		row.State, row.Class = "not yet valid", "info"
	case k.Until != nil && !now.Before(*k.Until):
		row.State, row.Class = "expired", "plain"
	case k.Until != nil && k.Until.Sub(now) < expiresSoon:
		row.State, row.Class = "expires soon", "warn"
	}
	return row
}

func (p *page) vendors() error {
	v, err := p.readKeys()
	if err != nil {
		return err
	}
	return p.show("vendors", "Vendors", v)
}

// vendor shows one key, with what may be done about it.
func (p *page) vendor() error {
	v, err := p.readKeys()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(v.Keys, func(k keyRow) bool { return k.ID == p.r.PathValue("id") })
	if i < 0 {
		return p.notFound()
	}
	return p.show("vendor", v.Keys[i].Name, &v.Keys[i])
}

func (p *page) addVendorKey() error {
	in := v1.NewVendorKey{
		Name: strings.TrimSpace(p.r.PostFormValue("name")), Role: p.r.PostFormValue("role"),
		Public: strings.TrimSpace(p.r.PostFormValue("public_key")),
	}
	if f, _, err := p.r.FormFile("file"); err == nil {
		b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
		_ = f.Close() // only read
		if err == nil && len(b) > 0 {
			in.Public = string(b)
		}
	}
	var err error
	if in.Scope, err = p.scope(); err != nil {
		return err
	}
	var k v1.VendorKey
	if err := p.api(http.MethodPost, "/v1/vendors", in, &k); err != nil {
		return err
	}
	return p.done("/vendors", "The key of "+k.Name+" may sign manifests.")
}

// scope reads what a key may sign.
func (p *page) scope() (v1.KeyScope, error) {
	s := v1.KeyScope{Vendors: listOf(p.r.PostFormValue("vendors")), Models: listOf(p.r.PostFormValue("models"))}
	var err error
	if s.From, err = p.day("from"); err != nil {
		return s, err
	}
	s.Until, err = p.day("until")
	return s, err
}

// listOf splits a text at line ends and commas.
func listOf(text string) []string {
	var out []string
	for _, s := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == ',' }) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// day reads a date, or a time to the minute, in UTC; nil where nothing was given.
func (p *page) day(name string) (*time.Time, error) {
	text := p.r.FormValue(name)
	if text == "" {
		return nil, nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			t = t.UTC()
			return &t, nil
		}
	}
	return nil, wrongInput("%s %q: want a date such as 2027-01-31", name, clipText(text, 40))
}

func (p *page) scopeVendorKey() error {
	in, err := p.scope()
	if err != nil {
		return err
	}
	if err := p.api(http.MethodPut, pathTo("v1", "vendors", p.r.PathValue("id"), "scope"), in, nil); err != nil {
		return err
	}
	return p.done("/vendors", "What the key may sign was changed.")
}

func (p *page) revokeVendorKey() error {
	at, err := p.day("at")
	if err != nil {
		return err
	}
	in := v1.KeyRevocation{At: at, Reason: strings.TrimSpace(p.r.PostFormValue("reason"))}
	if err := p.api(http.MethodPost, pathTo("v1", "vendors", p.r.PathValue("id"), "revoke"), in, nil); err != nil {
		return err
	}
	return p.done("/vendors", "The key was revoked. What it signed from then on is void.")
}
