package main

import (
	"io"
	"net/http"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) accountAdd() *cobra.Command {
	var flags accountFlags
	cmd := &cobra.Command{
		Use: "add NAME --role ROLE", Short: "Let somebody sign in", Args: need("NAME"),
		Long: "Let somebody sign in, with a password, through an OpenID provider or by a client certificate.\n\nRoles:\n" + roleTable(),
		Example: `  probity account add ada --role admin --password
  probity account add ci --role operator --certificate ci.crt
  probity account add acme-release --role vendor --vendor 'Acme*' --subject release@acme.example`,
	}
	flags.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if flags.role == "" {
			return usagef(cmd, "--role is missing: %s", roleNames())
		}
		if err := flags.check(cmd); err != nil {
			return err
		}
		if flags.role == string(v1.Vendor) && len(flags.vendors) == 0 {
			return usagef(cmd, "--vendor is missing: for which vendors may it speak?")
		}
		in := v1.NewAccount{Name: args[0], Role: v1.Role(flags.role), Vendors: flags.vendors, Subject: flags.subject}
		var err error
		if in.Certificates, err = flags.keyDigests(a); err != nil {
			return err
		}
		if in.Password, err = flags.newPassword(a); err != nil {
			return err
		}
		if in.Password == "" && in.Subject == "" && len(in.Certificates) == 0 {
			a.say("note: %s cannot sign in yet: it has no password, subject or certificate", in.Name)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var out v1.Account
		if err := c.call(cmd.Context(), http.MethodPost, "/v1/accounts", nil, in, &out); err != nil {
			return err
		}
		a.say("added account %s", out.Name)
		return a.print(out, func(w io.Writer) error { return a.writeAccounts(w, []v1.Account{out}) })
	}
	return cmd
}

// roleTable explains the roles, one a line.
func roleTable() string {
	lines := make([]line, len(roles))
	for i, r := range roles {
		lines[i] = line{"  " + string(r), roleMeaning(r)}
	}
	return lineText(lines)
}

func (a *app) accountSet() *cobra.Command {
	var flags accountFlags
	var disable, enable bool
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Change an account; its sessions end when role, password or state change", Args: need("NAME"),
		ValidArgsFunction: first(a.completeAccounts),
		Example: `  probity account set ada --role auditor
  probity account set ci --disable`,
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&disable, "disable", false, "let it sign in no more")
	enableFlag(cmd, &enable, &disable, "let it sign in again")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := flags.check(cmd); err != nil {
			return err
		}
		in, err := a.accountPatch(cmd, &flags, disable, enable)
		if err != nil {
			return err
		}
		if *in == (v1.AccountPatch{}) {
			return usagef(cmd, "nothing to change: give --role, --vendor, --subject, --certificate, --password, --disable or --enable")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var out v1.Account
		if err := c.call(cmd.Context(), http.MethodPatch, accountPath(args[0]), nil, in, &out); err != nil {
			return missing(err, "account", args[0], "account list")
		}
		a.say("changed account %s", out.Name)
		return a.print(out, func(w io.Writer) error { return a.writeAccounts(w, []v1.Account{out}) })
	}
	return cmd
}

func (a *app) accountPatch(cmd *cobra.Command, flags *accountFlags, disable, enable bool) (*v1.AccountPatch, error) {
	in := &v1.AccountPatch{}
	if flags.role != "" {
		role := v1.Role(flags.role)
		in.Role = &role
	}
	if cmd.Flags().Changed("vendor") {
		in.Vendors = &flags.vendors
	}
	if cmd.Flags().Changed("subject") {
		in.Subject = &flags.subject
	}
	if cmd.Flags().Changed("certificate") {
		digests, err := flags.keyDigests(a)
		if err != nil {
			return nil, err
		}
		in.Certificates = &digests
	}
	if disable || enable {
		in.Disabled = &disable
	}
	password, err := flags.newPassword(a)
	if err != nil {
		return nil, err
	}
	if password != "" {
		in.Password = &password
	}
	return in, nil
}

func (a *app) accountRemove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Remove an account and end its sessions; what it did stays in the audit log", Args: need("NAME"),
		ValidArgsFunction: first(a.completeAccounts),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := a.remove(cmd.Context(), yes, accountPath(args[0]), "account "+args[0])
		return missing(err, "account", args[0], "account list")
	}
	return cmd
}

func (a *app) accountPassword() *cobra.Command {
	var flags accountFlags
	cmd := &cobra.Command{
		Use: "password NAME", Short: "Give an account a new password and end its sessions", Args: need("NAME"),
		ValidArgsFunction: first(a.completeAccounts),
	}
	cmd.Flags().StringVar(&flags.passwordFile, "password-file", "",
		"`FILE` with the password, or - for standard input (default: it is typed)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		flags.password = true
		password, err := flags.newPassword(a)
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var out v1.Account
		if err := c.call(cmd.Context(), http.MethodPatch, accountPath(args[0]), nil, v1.AccountPatch{Password: &password}, &out); err != nil {
			return missing(err, "account", args[0], "account list")
		}
		a.say("account %s has a new password", out.Name)
		return nil
	}
	return cmd
}
