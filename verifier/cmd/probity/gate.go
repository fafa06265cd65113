package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

func (a *app) gateCommand() *cobra.Command {
	var tier, maxAge string
	cmd := &cobra.Command{
		Use: "gate DEVICE", Short: "Ask whether a device may pass, as a proxy or a script does before it talks to the device",
		Args: need("DEVICE"),
		Long: `Ask whether a device may pass, as a proxy or a script does before it talks to the device. The exit code is 0 if it may, 3 if
it may not because of what it runs, and 5 if nothing can be said of it now.`,
		Example: `  probity gate edge-7 --max-age 1h && ssh edge-7`,
	}
	cmd.Flags().StringVar(&tier, "tier", v1.TierAffirming, "worst tier that may pass: affirming, or warning")
	cmd.Flags().StringVar(&maxAge, "max-age", "",
		"how old the newest evidence may be, such as 90m or 7d (default: as long as the state holds)")
	_ = cmd.RegisterFlagCompletionFunc("tier", fixed(v1.TierAffirming, v1.TierWarning))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{"tier": {tier}}
		if tier != v1.TierAffirming && tier != v1.TierWarning {
			return usagef(cmd, "--tier %q: want affirming or warning", tier)
		}
		if maxAge != "" {
			d, err := age(maxAge)
			if err != nil || d < time.Second {
				return usagef(cmd, "--max-age %q: want a time such as 90m or 7d", maxAge)
			}
			query.Set("max_age", strconv.FormatInt(int64(d/time.Second), 10))
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		d, err := fetch[v1.Device](cmd.Context(), c, devicePath(args[0]), nil) // the gate takes full ids only
		if err != nil {
			return err
		}
		g, err := c.gate(cmd.Context(), d.ID, query)
		if err != nil {
			return err
		}
		if err := a.print(g, func(w io.Writer) error { return a.writeGate(w, named(d), &g) }); err != nil {
			return err
		}
		return gateVerdict(&g)
	}
	return a.reads(cmd)
}

func (c *client) gate(ctx context.Context, device string, query url.Values) (g v1.Gate, err error) {
	res, err := c.send(ctx, request{
		method: http.MethodGet, path: "/v1/gate/" + url.PathEscape(device), query: query, accept: jsonAnswer,
		timeout: requestTimeout,
		also:    http.StatusForbidden,
	})
	if err != nil {
		return g, err
	}
	defer res.Body.Close()
	if err := decode(res.Body, &g); err != nil {
		return g, err
	}
	if g.Device != device || g.Allowed != (res.StatusCode == http.StatusOK) {
		return g, fmt.Errorf("the verifier's answer contradicts itself: status %d, allowed %t, device %q", res.StatusCode,
			g.Allowed, g.Device)
	}
	return g, nil
}

// gateVerdict returns the exit code of an answer.
func gateVerdict(g *v1.Gate) error {
	switch {
	case g.Allowed:
		return nil
	case g.State == result.Untrusted, g.State == result.Warning && g.Reason == "warning":
		return &exit{code: exitNotTrusted}
	}
	return &exit{code: exitUnknown}
}

func (a *app) writeGate(w io.Writer, name string, g *v1.Gate) error {
	verdict := a.paint("MAY PASS", green)
	if !g.Allowed {
		verdict = a.paint("MAY NOT PASS", red)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s\n", verdict, safe(name))
	if g.Detail != "" {
		fmt.Fprintf(&b, "%s\n", safe(g.Detail))
	}
	writeLines(&b, 0, []line{
		{"state", string(g.State)},
		{"evidence", withAge(g.At)},
		{"good until", stamp(g.Expires)},
	})
	_, err := b.WriteTo(w)
	return err
}
