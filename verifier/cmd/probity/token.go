package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) tokenCommand() *cobra.Command {
	return group("token", "Tokens that let devices enrol, and tokens with which programs ask the verifier",
		a.writes(a.tokenCreate()), a.reads(a.tokenList()), a.writes(a.tokenRevoke()))
}

// Kinds of tokens.
const (
	enrolmentKind = "enrolment"
	apiKind       = "api"
)

func (a *app) tokenCreate() *cobra.Command {
	var in v1.NewToken
	var ttl time.Duration
	var api bool
	var role string
	cmd := &cobra.Command{
		Use: "create", Short: "Make a token; it is shown once", Args: need(),
		Long: `Make a token; it is shown once, alone on standard output. Without --api it lets devices enrol. With --api a program may ask
the verifier with it, by its role; only an admin makes those.`,
		Example: `  probity token create --uses 50 --ttl 72h
  probity token create --api --role viewer --name grafana --ttl 8760h > grafana.token`,
	}
	flags := cmd.Flags()
	flags.IntVar(&in.Uses, "uses", 1, "how many devices it lets in")
	flags.DurationVar(&ttl, "ttl", 24*time.Hour, "how long it is valid, such as 90m or 24h")
	flags.BoolVar(&api, "api", false, "make one with which programs ask the verifier")
	flags.StringVar(&role, "role", "", "with --api: "+roleNames())
	flags.StringArrayVar(&in.Vendors, "vendor", nil, "with --role vendor: `PATTERN` of vendors; may be given several times")
	flags.StringVar(&in.Name, "name", "", "with --api: what to call it")
	_ = cmd.RegisterFlagCompletionFunc("role", completeRoles)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if in.Uses < 1 {
			return usagef(cmd, "--uses %d: want at least 1", in.Uses)
		}
		if ttl < time.Minute || ttl%time.Second != 0 {
			return usagef(cmd, "--ttl %s: want whole seconds, at least 1m", ttl)
		}
		in.TTL = int64(ttl / time.Second)
		in.Role = v1.Role(role)
		switch {
		case !api && (role != "" || in.Name != "" || len(in.Vendors) > 0):
			return usagef(cmd, "--role, --vendor and --name are for --api")
		case api && !isRole(role):
			return usagef(cmd, "--role %q: want %s", role, roleNames())
		case api && cmd.Flags().Changed("uses"):
			return usagef(cmd, "--uses is for tokens that let devices enrol")
		case api:
			in.Kind, in.Uses = apiKind, 0
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var t v1.CreatedToken
		if err := c.call(cmd.Context(), http.MethodPost, "/v1/tokens", nil, in, &t); err != nil {
			return err
		}
		purpose := "lets " + count(t.Uses, "device") + " in"
		if t.Operator {
			purpose = "opens the API, role " + string(t.Role) + ","
		}
		a.say("token %s %s until %s; it is not shown again", t.ID, purpose, stamp(&t.Expires))
		return a.print(t, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, safe(t.Secret))
			return err
		})
	}
	return cmd
}

func (a *app) tokenList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens, without their secrets", Args: need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/v1/tokens", nil, func(w io.Writer, list *v1.Tokens) error {
				t := a.table("TOKEN", "FOR", "NAME", "ROLE", "+VENDORS", "STATE", "USES LEFT", "DEVICES", "+CREATED", "EXPIRES")
				for _, k := range list.Tokens {
					purpose, uses, devices := enrolmentKind, strconv.Itoa(k.Uses), strconv.Itoa(len(k.Devices))
					if k.Operator {
						purpose, uses, devices = apiKind, "", ""
					}
					t.add(k.ID, purpose, k.Name, string(k.Role), strings.Join(k.Vendors, ", "), tokenState(k, time.Now()), uses, devices,
						stamp(&k.Created), stamp(&k.Expires))
				}
				return t.write(w)
			})
		},
	}
}

func tokenState(t v1.Token, now time.Time) string {
	switch {
	case t.Revoked:
		return "revoked"
	case !now.Before(t.Expires):
		return "expired"
	case !t.Operator && t.Uses == 0:
		return "used up"
	}
	return "valid"
}

func (a *app) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke TOKEN", Short: "End a token, by its id", Args: need("TOKEN"),
		ValidArgsFunction: first(a.completeTokens),
		RunE: a.asks(func(cmd *cobra.Command, c *client, args []string) error {
			if err := c.call(cmd.Context(), http.MethodDelete, "/v1/tokens/"+url.PathEscape(args[0]), nil, nil, nil); err != nil {
				return missing(err, "token", args[0], "token list")
			}
			a.say("revoked token %s", args[0])
			return nil
		}),
	}
}
