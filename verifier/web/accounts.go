package web

import (
	"net/http"
	"slices"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// accountPages registers the pages of who may sign in.
func (s *server) accountPages() {
	s.get("GET /accounts", "list-accounts", (*page).accounts)
	s.get("GET /accounts/{name}", "list-accounts", (*page).account)
	s.post("POST /accounts", (*page).createAccount)
	s.post("POST /accounts/{name}", (*page).changeAccount)
	s.post("POST /accounts/{name}/password", (*page).resetPassword)
	s.post("POST /accounts/{name}/remove", (*page).removeAccount)
}

// roleView is a role in words, for forms.
type roleView struct {
	Role  v1.Role
	Words string
}

var roles = []roleView{
	{v1.Viewer, "sees devices, results, manifests, policy and alerts"},
	{v1.Operator, "as viewer; approves, labels, attests and removes devices, approves manifests, acknowledges alerts"},
	{v1.Vendor, "submits and withdraws manifests of its vendors; sees no devices"},
	{v1.Auditor, "as viewer; sees and exports the audit log and raw evidence; changes nothing"},
	{v1.Admin, "everything, also accounts, tokens, vendors' keys, policy and alert rules"},
}

// accountsView is the list, and one account where the address names it.
type accountsView struct {
	Accounts []v1.Account
	Account  *v1.Account
	Roles    []roleView
	Self     bool // it is the account of who looks
	Signs    string
}

func (p *page) readAccounts() (*accountsView, error) {
	var list v1.Accounts
	if err := p.api(http.MethodGet, "/v1/accounts", nil, &list); err != nil {
		return nil, err
	}
	return &accountsView{Accounts: list.Accounts, Roles: roles}, nil
}

func (p *page) accounts() error {
	v, err := p.readAccounts()
	if err != nil {
		return err
	}
	return p.show("accounts", "Accounts", v)
}

func (p *page) account() error {
	v, err := p.readAccounts()
	if err != nil {
		return err
	}
	name := p.r.PathValue("name")
	if name == newID {
		return p.show("account", "New account", v)
	}
	i := slices.IndexFunc(v.Accounts, func(a v1.Account) bool { return a.Name == name })
	if i < 0 {
		return p.notFound()
	}
	v.Account = &v.Accounts[i]
	v.Self = p.me.Kind == "account" && p.me.Name == name
	return p.show("account", name, v)
}

func (p *page) createAccount() error {
	f := p.r.PostForm
	in := v1.NewAccount{
		Name: strings.TrimSpace(f.Get("name")), Role: v1.Role(f.Get("role")), Vendors: listOf(f.Get("vendors")),
		Password: f.Get("password"), Subject: strings.TrimSpace(f.Get("subject")),
		Certificates: listOf(strings.ToLower(f.Get("certificates"))),
	}
	if in.Password != "" && in.Password != f.Get("again") {
		return wrongInput("the two passwords differ: type them again")
	}
	if err := p.api(http.MethodPost, "/v1/accounts", in, nil); err != nil {
		return err
	}
	return p.done("/accounts", in.Name+" may sign in.")
}

func (p *page) changeAccount() error {
	f, name := p.r.PostForm, p.r.PathValue("name")
	role, subject, disabled := v1.Role(f.Get("role")), strings.TrimSpace(f.Get("subject")), f.Get("disabled") == "yes"
	vendors, certificates := listOf(f.Get("vendors")), listOf(strings.ToLower(f.Get("certificates")))
	if vendors == nil {
		vendors = []string{}
	}
	if certificates == nil {
		certificates = []string{}
	}
	in := v1.AccountPatch{
		Role: &role, Subject: &subject, Disabled: &disabled, Vendors: &vendors,
		Certificates: &certificates,
	}
	if err := p.api(http.MethodPatch, pathTo("v1", "accounts", name), in, nil); err != nil {
		return err
	}
	return p.done("/accounts", "The account "+name+" was changed.")
}

func (p *page) resetPassword() error {
	name, password := p.r.PathValue("name"), p.r.PostFormValue("password")
	if password != p.r.PostFormValue("again") {
		return wrongInput("the two passwords differ: type them again")
	}
	if err := p.api(http.MethodPatch, pathTo("v1", "accounts", name), v1.AccountPatch{Password: &password},
		nil); err != nil {
		return err
	}
	return p.done("/accounts", "The password of "+name+" was changed. Its sessions have ended.")
}

func (p *page) removeAccount() error {
	name := p.r.PathValue("name")
	if err := p.api(http.MethodDelete, pathTo("v1", "accounts", name), nil, nil); err != nil {
		return err
	}
	return p.done("/accounts", "The account "+name+" was removed.")
}
