package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) manifestApprove() *cobra.Command {
	return a.decide("approve", "Consent to a submitted manifest; it counts when enough people other than its submitter did", false)
}

func (a *app) manifestRefuse() *cobra.Command {
	return a.decide("refuse", "Refuse a submitted manifest; it is withdrawn", true)
}

func (a *app) decide(name, short string, refuse bool) *cobra.Command {
	in := v1.NewApproval{Refuse: refuse}
	cmd := &cobra.Command{Use: name + " MANIFEST", Short: short, Args: need("MANIFEST")}
	cmd.Flags().StringVar(&in.Note, "note", "", "why, for the others")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if refuse && in.Note == "" {
			return usagef(cmd, "--note is missing: others will ask why")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		err = c.call(cmd.Context(), http.MethodPost, manifestPath(args[0], "approvals"), nil, in, nil)
		if err != nil {
			return missing(err, "manifest", args[0], "manifest list")
		}
		return a.onManifest(cmd.Context(), args[0], http.MethodGet, nil)
	}
	return cmd
}

func (a *app) manifestCoverage() *cobra.Command {
	return &cobra.Command{
		Use: "coverage MANIFEST", Short: "Show how many devices a manifest is about and how they stand", Args: need("MANIFEST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := show(a, cmd, manifestPath(args[0], "coverage"), nil, a.writeManifestCoverage)
			return missing(err, "manifest", args[0], "manifest list")
		},
	}
}

func (a *app) writeManifestCoverage(w io.Writer, v *v1.Coverage) error {
	var out bytes.Buffer
	writeLines(&out, 0, []line{
		{"devices of its model", grouped(v.Devices)},
		{"relying on it", grouped(v.Relying)},
		{"expires", withAge(v.Expires)},
	})
	if v.Relying > 0 {
		fmt.Fprintln(&out)
		t := a.table("STATE", "DEVICES")
		for _, s := range states {
			if n := v.States[s]; n > 0 {
				t.rows = append(t.rows, []cell{{string(s), stateColour(s)}, {text: grouped(n)}})
			}
		}
		if err := t.write(&out); err != nil {
			return err
		}
	}
	_, err := out.WriteTo(w)
	return err
}

// approvalLines says who consented to a manifest and how many more must.
func approvalLines(m *v1.Manifest) []line {
	var lines []line
	for _, one := range m.Approvals {
		text := one.Actor + ", " + stamp(&one.At)
		if one.Note != "" {
			text += ": " + one.Note
		}
		lines = append(lines, line{"approved by", text})
	}
	if missing := m.Needed - len(m.Approvals); missing > 0 && m.State == "submitted" {
		lines = append(lines, line{"waits for", count(missing, "more approval") + ": probity manifest approve " + m.Name})
	}
	return lines
}
