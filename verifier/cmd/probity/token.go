package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) tokenCommand() *cobra.Command {
	return group("token", "Tokens that let devices enrol", a.tokenCreate(), a.tokenList(), a.tokenRevoke())
}

func (a *app) tokenCreate() *cobra.Command {
	var uses int
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "create", Short: "Make an enrolment token; it is shown once", Args: need(),
	}
	cmd.Flags().IntVar(&uses, "uses", 1, "how many devices it lets in")
	cmd.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long it is valid, such as 90m or 24h")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if uses < 1 {
			return usagef(cmd, "--uses %d: want at least 1", uses)
		}
		if ttl < time.Minute || ttl%time.Second != 0 {
			return usagef(cmd, "--ttl %s: want whole seconds, at least 1m", ttl)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var t v1.CreatedToken
		in := v1.NewToken{Uses: uses, TTL: int64(ttl / time.Second)}
		if err := c.call(cmd.Context(), http.MethodPost, "/v1/tokens", nil, in, &t); err != nil {
			return err
		}
		a.say("token %s lets %d devices in until %s; it is not shown again", t.ID, t.Uses, stamp(&t.Expires))
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
			c, err := a.client()
			if err != nil {
				return err
			}
			var list v1.Tokens
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/tokens", nil, nil, &list); err != nil {
				return err
			}
			return a.print(list, func(w io.Writer) error {
				t := a.table("TOKEN", "FOR", "STATE", "USES LEFT", "DEVICES", "EXPIRES")
				for _, k := range list.Tokens {
					purpose := "enrolment"
					if k.Operator {
						purpose = "operator"
					}
					t.add(k.ID, purpose, tokenState(k, time.Now()), strconv.Itoa(k.Uses), strconv.Itoa(len(k.Devices)),
						stamp(&k.Expires))
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
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodDelete, "/v1/tokens/"+url.PathEscape(args[0]), nil, nil, nil); err != nil {
				if isMissing(err) {
					return fmt.Errorf("token %q: %w; see \"probity token list\"", args[0], err)
				}
				return err
			}
			a.say("revoked token %s", args[0])
			return nil
		},
	}
}
