package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// sightingsPage is how many sightings one request asks for.
const sightingsPage = 500

func (a *app) denylistCommand() *cobra.Command {
	return group("denylist", "What is known to be bad, and which devices ever had it",
		a.writes(a.denylistAdd()), a.reads(a.denylistList()), a.denylistDevices(), a.writes(a.denylistRemove()))
}

func (a *app) denylistAdd() *cobra.Command {
	var in v1.NewDenial
	var signed string
	cmd := &cobra.Command{
		Use: "add DIGEST --advisory ID | add --signed FILE", Short: "Put a digest, or a signed deny-list, in force and list the devices that ever had it",
		Args: need("[DIGEST]"),
	}
	cmd.Flags().StringVar(&in.Advisory, "advisory", "", "`ID` of what says that it is bad, such as CVE-2026-12345")
	cmd.Flags().StringVar(&in.Note, "note", "", "what it is, for people")
	cmd.Flags().StringVar(&signed, "signed", "", "`FILE` with a signed deny-list")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case (signed == "") == (len(args) == 0):
			return usagef(cmd, "want either DIGEST or --signed FILE")
		case signed == "" && in.Advisory == "":
			return usagef(cmd, "--advisory is missing")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		if signed != "" {
			return a.submitDenyList(cmd.Context(), c, signed)
		}
		in.Digest = args[0]
		var e v1.DeniedEntry
		if err := c.call(cmd.Context(), http.MethodPost, "/v1/denylist", nil, in, &e); err != nil {
			return err
		}
		a.say("denied %s", strings.Join(e.Digests, ", "))
		return a.printSightings(cmd.Context(), c, e.Digests)
	}
	return cmd
}

// submitDenyList submits a signed deny-list and lists the devices that ever had something of it.
func (a *app) submitDenyList(ctx context.Context, c *client, file string) error {
	d, err := a.readManifest(file)
	if err != nil {
		return err
	}
	m := d.manifest
	switch {
	case !m.IsDenyList():
		return fmt.Errorf("%s: %q is a manifest of reference values, no deny-list: use \"probity manifest submit\"", shownName(file), m.ID)
	case d.signature == nil:
		return notSigned(file)
	}
	var answer v1.Manifest
	if err := c.upload(ctx, "/v1/manifests", nil, nil, d.bytes, &answer); err != nil {
		return err
	}
	a.say("submitted %s (%s)", answer.Name, answer.Advisory)
	var digests []string
	for _, d := range m.Denied {
		for _, one := range d.Digests {
			digests = append(digests, one.String())
		}
	}
	return a.printSightings(ctx, c, digests)
}

func (a *app) denylistList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List what is denied", Args: need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/v1/denylist", nil, func(w io.Writer, list *v1.DenyList) error {
				t := a.table("ADVISORY", "WHAT", "DIGEST", "NOTE", "FOR", "FROM")
				for _, e := range list.Entries {
					by := e.Issuer
					if e.Manifest != "" {
						by += ", " + e.Manifest
					}
					scope := strings.TrimSpace(e.Vendor + " " + e.Model)
					if scope == "" {
						scope = "all"
					}
					t.add(e.Advisory, e.Component, strings.Join(e.Digests, " "), e.Note, scope, by)
				}
				return t.write(w)
			})
		},
	}
}

func (a *app) denylistDevices() *cobra.Command {
	return &cobra.Command{
		Use: "devices DIGEST", Short: "List the devices that ever had a digest, denied or not, where and when", Args: need("DIGEST"),
		RunE: a.asks(func(cmd *cobra.Command, c *client, args []string) error {
			return a.printSightings(cmd.Context(), c, args)
		}),
	}
}

func (a *app) denylistRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove DIGEST", Short: "Take your own entry off the deny-list; signed ones are withdrawn with \"probity manifest withdraw\"",
		Args: need("DIGEST"),
		RunE: a.asks(func(cmd *cobra.Command, c *client, args []string) error {
			if err := c.call(cmd.Context(), http.MethodDelete, "/v1/denylist/"+url.PathEscape(args[0]), nil, nil, nil); err != nil {
				if isMissing(err) {
					return fmt.Errorf("digest %q: no operator's entry: %w; see \"probity denylist list\"", args[0], err)
				}
				return err
			}
			a.say("removed %s", args[0])
			return nil
		}),
	}
}

// printSightings lists the devices that ever had one of the digests.
func (a *app) printSightings(ctx context.Context, c *client, digests []string) error {
	all := v1.Sightings{Sightings: []v1.Sighting{}}
	m := a.meter()
	for i, d := range digests {
		if len(digests) > 1 {
			m.of(i, len(digests), "digests")
		}
		found, err := c.sightings(ctx, d)
		if err != nil {
			m.end()
			return err
		}
		all.Sightings = append(all.Sightings, found...)
	}
	m.end()
	if len(all.Sightings) == 0 {
		a.say("no device ever reported it")
	}
	return a.print(all, func(w io.Writer) error {
		if len(all.Sightings) == 0 {
			return nil
		}
		t := a.table("DEVICE", "LABEL", "WHERE", "FIRST SEEN", "UNTIL")
		t.width = textWidth
		for _, s := range all.Sightings {
			row := []cell{{text: clipID(s.Device)}, {text: s.Label}, {text: s.Place}, {text: stamp(&s.First)}, {text: stamp(s.Until)}}
			if s.Until == nil {
				row[4] = cell{"still there", red}
			}
			t.rows = append(t.rows, row)
		}
		return t.write(w)
	})
}

// sightings returns all sightings of a digest.
func (c *client) sightings(ctx context.Context, digest string) (out []v1.Sighting, err error) {
	for after := int64(0); ; {
		query := url.Values{"digest": {digest}, "limit": {strconv.Itoa(sightingsPage)}}
		if after > 0 {
			query.Set("after", strconv.FormatInt(after, 10))
		}
		page, err := fetch[v1.Sightings](ctx, c, "/v1/sightings", query)
		if err != nil {
			return nil, err
		}
		out = append(out, page.Sightings...)
		if after = page.Next; after == 0 || len(page.Sightings) == 0 {
			return out, nil
		}
	}
}
