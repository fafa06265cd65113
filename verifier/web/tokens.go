package web

import (
	"net/http"
	"strconv"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// tokenPages registers the page of tokens: for devices to enrol with, and for programs to ask the API.
func (s *server) tokenPages() {
	s.get("GET /tokens", "list-tokens", (*page).tokens)
	s.post("POST /tokens", (*page).createToken)
	s.post("POST /tokens/{id}/revoke", (*page).revokeToken)
}

// tokenRow is one token.
type tokenRow struct {
	*v1.Token
	State, Class string // in words
	Gone         bool   // revoked, used up or expired
}

// tokensView is all tokens, and a new one with its secret right after it was made.
type tokensView struct {
	Rows  []tokenRow
	Gone  int
	Made  *v1.CreatedToken // nil: none was made
	Line  string           // that enrols a device; of a token for that
	Roles []roleView
	All   bool // those that are gone are shown too
}

func (p *page) tokens() error { return p.showTokens(nil) }

func (p *page) showTokens(made *v1.CreatedToken) error {
	v := tokensView{Made: made, All: p.r.URL.Query().Get("all") == "yes"}
	v.Roles = roles
	if made != nil && !made.Operator {
		v.Line = p.Enrolment().Line(made.Secret)
	}
	if p.can("list-tokens") {
		var list v1.Tokens
		if err := p.api(http.MethodGet, "/v1/tokens", nil, &list); err != nil {
			return err
		}
		for i := range list.Tokens {
			t := &list.Tokens[i]
			row := tokenRow{Token: t, State: "in force", Class: "ok"}
			switch {
			case t.Revoked:
				row.State, row.Class, row.Gone = "revoked", "failed", true
			case !p.Now().Before(t.Expires):
				row.State, row.Class, row.Gone = "expired", "plain", true
			case !t.Operator && t.Uses == 0:
				row.State, row.Class, row.Gone = "used up", "plain", true
			}
			if row.Gone {
				v.Gone++
			}
			if !row.Gone || v.All {
				v.Rows = append(v.Rows, row)
			}
		}
	}
	return p.show("tokens", "Tokens", &v)
}

// createToken makes a token and shows its secret, once: the answer is the page itself and no address leads to it.
func (p *page) createToken() error {
	f := p.r.PostForm
	hours, err := strconv.ParseInt(f.Get("hours"), 10, 32)
	if err != nil || hours < 1 || hours > 8760 {
		return wrongInput("lifetime %q: want 1 to 8760 hours", clipText(f.Get("hours"), 20))
	}
	in := v1.NewToken{Kind: f.Get("kind"), TTL: hours * 3600}
	if in.Kind == "api" {
		in.Role, in.Vendors, in.Name = v1.Role(f.Get("role")), listOf(f.Get("vendors")), strings.TrimSpace(f.Get("name"))
	} else if in.Uses, err = strconv.Atoi(f.Get("uses")); err != nil {
		return wrongInput("devices %q: want a number", clipText(f.Get("uses"), 20))
	}
	var made v1.CreatedToken
	if err := p.api(http.MethodPost, "/v1/tokens", in, &made); err != nil {
		return err
	}
	return p.showTokens(&made)
}

func (p *page) revokeToken() error {
	id := p.r.PathValue("id")
	if err := p.api(http.MethodDelete, pathTo("v1", "tokens", id), nil, nil); err != nil {
		return err
	}
	return p.done("/tokens", "The token "+id+" opens nothing any more.")
}
