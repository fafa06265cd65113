package v1

import "time"

// Role is what a principal may do in its tenant.
type Role string

// Roles. Each may do what its line says and nothing else; the server's table of routes is the authority.
const (
	Viewer   Role = "viewer"   // sees devices, results, manifests, policy and alerts
	Operator Role = "operator" // as viewer; approves, labels, attests, captures and removes devices, lets devices in, makes baselines, denies digests, tries out and approves manifests, acknowledges alerts
	Vendor   Role = "vendor"   // sees and submits, withdraws and supersedes manifests of the vendors in its scope, and tries them out; no devices
	Auditor  Role = "auditor"  // as viewer; sees and exports the audit log and raw evidence; changes nothing
	Admin    Role = "admin"    // everything, accounts, tokens, vendors' keys, policy, settings and alert rules included
)

// Me is who asks.
type Me struct {
	Name    string     `json:"name" doc:"under which the audit log knows the principal"`
	Kind    string     `json:"kind" enum:"account,token,certificate" doc:"how it signed in"`
	Tenant  string     `json:"tenant"`
	Role    Role       `json:"role" enum:"viewer,operator,vendor,auditor,admin"`
	Vendors []string   `json:"vendors,omitempty" doc:"of a vendor: patterns of the vendors that it may speak for"`
	Expires *time.Time `json:"expires,omitempty" doc:"when the session or token ends"`
	// Can tells clients what to offer; the server decides by itself.
	Can []string `json:"can" doc:"ids of the operations that this principal may use"`
}

// SignIn asks for a session. The answer sets its cookie.
type SignIn struct {
	Name     string `json:"name" minLength:"1" maxLength:"128"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
}

// Setup makes the first account of a verifier that has none.
type Setup struct {
	Code     string `json:"code" minLength:"1" maxLength:"256" doc:"that the verifier printed when it first started"`
	Name     string `json:"name" minLength:"1" maxLength:"128"`
	Password string `json:"password" minLength:"12" maxLength:"1024"`
}

// SignInMethods says how people may sign in; anybody may ask for it.
type SignInMethods struct {
	Password bool           `json:"password"`
	OIDC     []OIDCProvider `json:"oidc,omitempty"`
	Setup    bool           `json:"setup" doc:"there is no account yet: the first one is made with the code that the verifier printed"`
}

// OIDCProvider is an OpenID provider that people may sign in with.
type OIDCProvider struct {
	Name string `json:"name" doc:"for people"`
	URL  string `json:"url" doc:"path on this verifier where signing in begins"`
}

// Account is a person or a machine that may sign in.
type Account struct {
	Name         string     `json:"name"`
	Role         Role       `json:"role" enum:"viewer,operator,vendor,auditor,admin"`
	Vendors      []string   `json:"vendors,omitempty" doc:"of a vendor: patterns of the vendors that it may speak for"`
	Password     bool       `json:"password" doc:"it may sign in with a password"`
	Subject      string     `json:"subject,omitempty" doc:"at the OpenID provider, as ISSUER#SUBJECT or an e-mail address that the provider verified"`
	Certificates []string   `json:"certificates,omitempty" doc:"hexadecimal SHA-256 of the SubjectPublicKeyInfo of client certificates that stand for it"`
	Disabled     bool       `json:"disabled"`
	Created      time.Time  `json:"created"`
	LastSignIn   *time.Time `json:"last_sign_in,omitempty"`
}

// Accounts is all accounts in ascending name.
type Accounts struct {
	Accounts []Account `json:"accounts"`
}

// NewAccount adds an account.
type NewAccount struct {
	Name         string   `json:"name" minLength:"1" maxLength:"128"`
	Role         Role     `json:"role" enum:"viewer,operator,vendor,auditor,admin"`
	Vendors      []string `json:"vendors,omitempty" maxItems:"64"`
	Password     string   `json:"password,omitempty" maxLength:"1024" doc:"at least 12 characters; absent: it cannot sign in with one"`
	Subject      string   `json:"subject,omitempty" maxLength:"512"`
	Certificates []string `json:"certificates,omitempty" maxItems:"16"`
}

// AccountPatch changes an account. Absent members stay as they are. A change of role, vendors, password, subject or
// disabled ends its sessions.
type AccountPatch struct {
	Role         *Role     `json:"role,omitempty" enum:"viewer,operator,vendor,auditor,admin"`
	Vendors      *[]string `json:"vendors,omitempty" maxItems:"64"`
	Password     *string   `json:"password,omitempty" maxLength:"1024"`
	Subject      *string   `json:"subject,omitempty" maxLength:"512"`
	Certificates *[]string `json:"certificates,omitempty" maxItems:"16"`
	Disabled     *bool     `json:"disabled,omitempty"`
}

// PasswordChange changes one's own password.
type PasswordChange struct {
	Old string `json:"old" minLength:"1" maxLength:"1024"`
	New string `json:"new" minLength:"12" maxLength:"1024"`
}

// AuditEntry is something that somebody did or saw. Entries are never changed or deleted; each holds the digest of the
// one before.
type AuditEntry struct {
	Seq     int64     `json:"seq"`
	At      time.Time `json:"at"`
	Actor   string    `json:"actor"`
	Role    Role      `json:"role,omitempty"`
	Action  string    `json:"action" doc:"id of the operation"`
	Object  string    `json:"object,omitempty" doc:"what it was done to: the path"`
	Outcome string    `json:"outcome" enum:"ok,refused,failed"`
	Status  int       `json:"status" doc:"of the answer"`
	Remote  string    `json:"remote,omitempty" doc:"address that asked"`
	Request string    `json:"request,omitempty" doc:"id of the request in the verifier's log"`
	Detail  string    `json:"detail,omitempty"`
	Times   int       `json:"times,omitempty" doc:"how often the same was seen within the minutes that one entry stands for; absent: once"`
	Before  string    `json:"before" doc:"chain of the entry before; of the first, zeros"`
	Chain   string    `json:"chain" doc:"hexadecimal SHA-256 over before and this entry, as package audit says"`
}

// Audit is a page of the audit log, newest first.
type Audit struct {
	Entries []AuditEntry `json:"entries"`
	Next    int64        `json:"next,omitempty" doc:"value of before for the next page"`
}
