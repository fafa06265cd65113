package web

import (
	"net/http"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (p *page) baselines() error {
	var list v1.Baselines
	if err := p.api(http.MethodGet, "/v1/baselines", nil, &list); err != nil {
		return err
	}
	return p.show("baselines", "Baselines", &list)
}

func (p *page) createBaseline() error {
	in := v1.NewBaseline{
		Device: strings.TrimSpace(p.r.PostFormValue("device")), Name: strings.TrimSpace(p.r.PostFormValue("name")),
	}
	var made v1.Baseline
	if err := p.api(http.MethodPost, "/v1/baselines", in, &made); err != nil {
		return err
	}
	text := "Baseline " + made.Name + " was made."
	if len(made.Notes) > 0 {
		text += " Note: " + strings.Join(made.Notes, "; ") + "."
	}
	return p.done("/baselines", text)
}

func (p *page) retireBaseline() error {
	name := p.r.PathValue("name")
	if err := p.api(http.MethodDelete, pathTo("v1", "baselines", name), nil, nil); err != nil {
		return err
	}
	return p.done("/baselines", "Baseline "+name+" is no longer in force. Devices that relied on it are judged again.")
}

// denyView is the deny-list.
type denyView struct{ Entries []denyRow }

// denyRow is one entry.
type denyRow struct {
	*v1.DeniedEntry
	Own string // digest under which people here put it on the list; empty: a signed deny-list did
}

func (p *page) denyList() error {
	var list v1.DenyList
	if err := p.api(http.MethodGet, "/v1/denylist", nil, &list); err != nil {
		return err
	}
	var v denyView
	for i := range list.Entries {
		row := denyRow{DeniedEntry: &list.Entries[i]}
		if row.Manifest == "" && len(row.Digests) > 0 {
			row.Own = bareDigest(row.Digests[0])
		}
		v.Entries = append(v.Entries, row)
	}
	return p.show("denylist", "Deny-list", &v)
}

// bareDigest returns a digest without the name of its algorithm.
func bareDigest(s string) string {
	if _, hex, ok := strings.Cut(s, ":"); ok {
		return hex
	}
	return s
}

func (p *page) deny() error {
	in := v1.NewDenial{
		Digest:   bareDigest(strings.ToLower(strings.TrimSpace(p.r.PostFormValue("digest")))),
		Advisory: strings.TrimSpace(p.r.PostFormValue("advisory")), Note: strings.TrimSpace(p.r.PostFormValue("note")),
	}
	if err := p.api(http.MethodPost, "/v1/denylist", in, nil); err != nil {
		return err
	}
	return p.done("/search?q="+in.Digest, "The digest is on the deny-list. Every device that has it is judged again; "+
		"those that ever had it are below.")
}

func (p *page) undeny() error {
	if err := p.api(http.MethodDelete, pathTo("v1", "denylist", p.r.PathValue("digest")), nil, nil); err != nil {
		return err
	}
	return p.done("/denylist", "The digest is no longer on the deny-list.")
}
