package main

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) meCommand() *cobra.Command {
	return &cobra.Command{
		Use: "me", Short: "Show who you are to the verifier and what you may do", Args: need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/v1/me", nil, func(w io.Writer, me *v1.Me) error {
				lines := []line{
					{"name", me.Name},
					{"signed in with", me.Kind},
					{"tenant", me.Tenant},
					{"role", string(me.Role) + ": " + roleMeaning(me.Role)},
					{"vendors", strings.Join(me.Vendors, ", ")},
					{"until", stamp(me.Expires)},
				}
				if a.output == "wide" {
					lines = append(lines, line{"operations", strings.Join(me.Can, ", ")})
				}
				_, err := io.WriteString(w, lineText(lines))
				return err
			})
		},
	}
}

// roles are all roles, least first.
var roles = []v1.Role{v1.Viewer, v1.Operator, v1.Vendor, v1.Auditor, v1.Admin}

// roleMeaning says what a role may do.
func roleMeaning(r v1.Role) string {
	switch r {
	case v1.Viewer:
		return "sees devices, results, manifests, policy and alerts"
	case v1.Operator:
		return "sees everything of the fleet and acts on devices, tokens, baselines and manifests"
	case v1.Vendor:
		return "manifests of its vendors; no devices"
	case v1.Auditor:
		return "sees everything, the audit log and raw evidence included; changes nothing"
	case v1.Admin:
		return "everything"
	}
	return "not known to this version of probity"
}

// roleNames lists the roles for help texts.
func roleNames() string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

func isRole(s string) bool { return slices.Contains(roles, v1.Role(s)) }
