package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// leastPassword is the least length of a password, as the verifier demands it.
const leastPassword = 12

func (a *app) accountCommand() *cobra.Command {
	return group("account", "People and machines that may sign in, and what they may do",
		a.reads(a.accountList()), a.writes(a.accountAdd()), a.writes(a.accountSet()), a.writes(a.accountRemove()),
		a.writes(a.accountPassword()))
}

func accountPath(name string) string { return "/v1/accounts/" + url.PathEscape(name) }

func (a *app) accountList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List accounts", Args: need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/v1/accounts", nil, func(w io.Writer, list *v1.Accounts) error {
				return a.writeAccounts(w, list.Accounts)
			})
		},
	}
}

func (a *app) writeAccounts(w io.Writer, list []v1.Account) error {
	t := a.table("NAME", "ROLE", "VENDORS", "SIGNS IN WITH", "STATE", "LAST SIGN-IN", "+CREATED", "+SUBJECT", "+CERTIFICATES")
	t.width = textWidth
	for _, one := range list {
		state := cell{text: "enabled"}
		if one.Disabled {
			state = cell{"disabled", yellow}
		}
		t.rows = append(t.rows, []cell{
			{text: one.Name},
			{text: string(one.Role)},
			{text: strings.Join(one.Vendors, ", ")},
			{text: signsInWith(&one)},
			state,
			{text: ago(one.LastSignIn)},
			{text: stamp(&one.Created)},
			{text: one.Subject},
			{text: strings.Join(one.Certificates, ", ")},
		})
	}
	return t.write(w)
}

func signsInWith(one *v1.Account) string {
	var ways []string
	if one.Password {
		ways = append(ways, "password")
	}
	if one.Subject != "" {
		ways = append(ways, "OpenID")
	}
	if len(one.Certificates) > 0 {
		ways = append(ways, "certificate")
	}
	if len(ways) == 0 {
		return "nothing yet"
	}
	return strings.Join(ways, ", ")
}

// accountFlags are what can be said of an account.
type accountFlags struct {
	role, subject, passwordFile string
	vendors, certificates       []string
	password                    bool
}

func (f *accountFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.role, "role", "", "role: "+roleNames())
	flags.StringArrayVar(&f.vendors, "vendor", nil,
		"`PATTERN` of vendors that a vendor may speak for, such as 'Acme*'; may be given several times")
	flags.StringVar(&f.subject, "subject", "",
		"who it is at the OpenID provider: ISSUER#SUBJECT, or an e-mail address that the provider verified")
	flags.StringArrayVar(&f.certificates, "certificate", nil,
		"`FILE` of a client certificate (PEM) that stands for it, or the SHA-256 of its key; may be given several times")
	flags.BoolVar(&f.password, "password", false, "give it a password, which is typed")
	flags.StringVar(&f.passwordFile, "password-file", "", "`FILE` with the password, or - for standard input")
	_ = cmd.RegisterFlagCompletionFunc("role", completeRoles)
}

func completeRoles(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = offer(string(r), roleMeaning(r))
	}
	return offers(typed, out)
}

// check looks at what needs no file.
func (f *accountFlags) check(cmd *cobra.Command) error {
	if f.role != "" && !isRole(f.role) {
		return usagef(cmd, "--role %q: want %s", f.role, roleNames())
	}
	if len(f.vendors) > 0 && f.role != "" && f.role != string(v1.Vendor) {
		return usagef(cmd, "--vendor is for the role vendor")
	}
	return nil
}

// newPassword returns the password that was asked for, empty for none.
func (f *accountFlags) newPassword(a *app) (string, error) {
	if !f.password && f.passwordFile == "" {
		return "", nil
	}
	p, err := a.newPassword(f.passwordFile, "--password-file", "password")
	if err == nil && len([]rune(p)) < leastPassword {
		err = fmt.Errorf("the password is shorter than %d characters", leastPassword)
	}
	return p, err
}

// keyDigests returns the digests of the certificates' keys.
func (f *accountFlags) keyDigests(a *app) ([]string, error) {
	out := make([]string, 0, len(f.certificates))
	for _, c := range f.certificates {
		if sum, err := hex.DecodeString(c); err == nil && len(sum) == sha256.Size {
			out = append(out, strings.ToLower(c))
			continue
		}
		b, err := a.readFile(c, maxPublicFile)
		if err != nil {
			return nil, err
		}
		digest, err := certificateDigest(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shownName(c), err)
		}
		out = append(out, digest)
	}
	return out, nil
}

// certificateDigest returns the SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 5280, section 4.1).
func certificateDigest(text []byte) (string, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", errors.New("want a certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:]), nil
}
