package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/linediff"
	"github.com/probity-attest/probity/verifier/result"
)

// maxPolicy is the largest policy document that is read, in bytes.
const maxPolicy = 128 << 10

func (a *app) policyCommand() *cobra.Command {
	return group("policy", "What devices must prove, by group, and what weighs how much",
		a.reads(a.policyShow()), a.writes(a.policySet()), a.policyTest(), a.reads(a.policyVersions()))
}

func (a *app) policyShow() *cobra.Command {
	var version int64
	cmd := &cobra.Command{
		Use: "show", Short: "Show the policy document in force, which can be edited and set", Args: need(),
	}
	cmd.Flags().Int64Var(&version, "version", 0, "show this version (default: the one in force)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if version < 0 {
			return usagef(cmd, "--version %d: want at least 1", version)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		p, err := c.policy(cmd.Context(), version)
		if err != nil {
			return err
		}
		a.say("%s", policyHeading(&p))
		a.notices(p.Notices)
		return a.print(p, func(w io.Writer) error {
			_, err := io.WriteString(w, safeLines(p.Document))
			return err
		})
	}
	return cmd
}

// policy asks for a version of the policy, for 0 the one in force.
func (c *client) policy(ctx context.Context, version int64) (v1.Policy, error) {
	query := url.Values{}
	if version > 0 {
		query.Set("version", strconv.FormatInt(version, 10))
	}
	return fetch[v1.Policy](ctx, c, "/v1/policy", query)
}

func policyHeading(p *v1.Policy) string {
	if p.Version == 0 {
		return "no policy document was set: this is the built-in policy"
	}
	s := fmt.Sprintf("policy %s, version %d, set by %s at %s", p.Name, p.Version, p.Author, stamp(p.Created))
	if p.InForce {
		s += ", in force"
	}
	return s
}

func (a *app) notices(list []string) {
	for _, n := range list {
		a.say("notice: %s", n)
	}
}

func (a *app) policyVersions() *cobra.Command {
	return &cobra.Command{
		Use: "versions", Short: "List the newest versions of the policy document", Args: need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/v1/policy/versions", nil, func(w io.Writer, list *v1.Policies) error {
				t := a.table("VERSION", "NAME", "IN FORCE", "SET", "BY", "DIGEST")
				for _, p := range list.Policies {
					force := ""
					if p.InForce {
						force = "yes"
					}
					t.add(strconv.FormatInt(p.Version, 10), p.Name, force, stamp(p.Created), p.Author, clipDigest(p.Digest))
				}
				return t.write(w)
			})
		},
	}
}

func (a *app) policySet() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "set FILE", Short: "Put a policy document in force, after showing what it changes in the text", Args: need("FILE"),
		Long: `Put a policy document in force. The difference to the one in force is shown and must be confirmed on a terminal, or
with --yes. "probity policy test" says before what it would change for the devices.`,
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask, as there must be a terminal for")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := a.readPolicy(args[0])
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		now, err := c.policy(cmd.Context(), 0)
		if err != nil {
			return err
		}
		if now.Document == text && now.Version > 0 {
			a.say("this is version %d, which is in force: nothing to do", now.Version)
			return nil
		}
		for _, l := range linediff.Lines(now.Document, text) {
			fmt.Fprintln(a.stderr, a.paint(safe(l.String()), colours[l.Mark]))
		}
		switch {
		case a.dryRun:
			a.say("dry run: nothing was changed; see \"probity policy test\" for what it would change for the devices")
			return nil
		case yes:
		case !isTerminal(a.stdin):
			return usagef(cmd, "there is no terminal to confirm on: give --yes")
		case !a.confirm("put this policy in force? [y/N] "):
			return errors.New("not confirmed: nothing was changed")
		}
		var set v1.Policy
		in := v1.NewPolicy{Document: text, BasedOn: now.Version}
		if err := c.call(cmd.Context(), http.MethodPut, "/v1/policy", nil, in, &set); err != nil {
			return err
		}
		a.say("policy %s, version %d, is in force", set.Name, set.Version)
		a.notices(set.Notices)
		set.Document = "" // it is what was given
		return a.print(set, func(io.Writer) error { return nil })
	}
	return cmd
}

func (a *app) readPolicy(name string) (string, error) {
	text, err := a.readFile(name, maxPolicy)
	return string(text), err
}

func (a *app) policyTest() *cobra.Command {
	var device string
	var all bool
	cmd := &cobra.Command{
		Use: "test FILE", Short: "Say what a policy document would change for the devices, without switching", Args: need("FILE"),
		Long: `Appraise the newest stored evidence of all devices, or of one, by the policy in force and by a document, and say what
would change. Nothing is switched.`,
	}
	cmd.Flags().StringVar(&device, "device", "", "test on this device only: label, or id or its start")
	cmd.Flags().BoolVar(&all, "all", false, "show all devices, not only those that change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := a.readPolicy(args[0])
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		out, err := c.testPolicy(cmd.Context(), text, device)
		if err != nil {
			return err
		}
		a.notices(out.Notices)
		if !all && device == "" {
			out.Devices = slices.DeleteFunc(out.Devices, func(d v1.PolicyChange) bool { return !changes(&d) })
		}
		return a.print(out, func(w io.Writer) error { return a.writePolicyTest(w, &out) })
	}
	return cmd
}

// policyTest is the whole test, put together of its pages.
type policyTest struct {
	Name    string               `json:"name"`
	Digest  string               `json:"digest"`
	BasedOn int64                `json:"based_on"`
	Notices []string             `json:"notices,omitempty"`
	Tested  int                  `json:"tested"`
	Changed int                  `json:"changed"`
	Unknown int                  `json:"unknown"` // devices of which nothing can be told
	Before  map[result.State]int `json:"before"`
	After   map[result.State]int `json:"after"`
	Devices []v1.PolicyChange    `json:"devices"`
}

func changes(d *v1.PolicyChange) bool { return d.Before != d.After || d.Note != "" }

// testPolicy tests a document on one device or, with "", on all.
func (c *client) testPolicy(ctx context.Context, text, device string) (policyTest, error) {
	out := policyTest{Before: map[result.State]int{}, After: map[result.State]int{}, Devices: []v1.PolicyChange{}}
	in := v1.NewPolicyTest{Document: text, Device: device}
	for {
		var page v1.PolicyTest
		if err := c.call(ctx, http.MethodPost, "/v1/policy/test", nil, in, &page); err != nil {
			return out, err
		}
		out.Name, out.Digest, out.BasedOn, out.Notices = page.Name, page.Digest, page.BasedOn, page.Notices
		for _, d := range page.Devices {
			out.Tested++
			switch {
			case d.Before == "" || d.After == "":
				out.Unknown++
			default:
				out.Before[d.Before]++
				out.After[d.After]++
				if d.Before != d.After {
					out.Changed++
				}
			}
		}
		out.Devices = append(out.Devices, page.Devices...)
		if page.Next == "" {
			return out, nil
		}
		in.After = page.Next
	}
}

func (a *app) writePolicyTest(w io.Writer, p *policyTest) error {
	counts := a.table("STATE", "NOW", "WITH THIS POLICY")
	for _, s := range []result.State{
		result.Trusted, result.Warning, result.Untrusted, result.Stale, result.Unsupported, result.NeverAttested,
	} {
		if p.Before[s]+p.After[s] > 0 {
			counts.rows = append(counts.rows, []cell{
				{string(s), stateColour(s)}, {text: strconv.Itoa(p.Before[s])}, {text: strconv.Itoa(p.After[s])},
			})
		}
	}
	if err := counts.write(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d devices, %d would change", p.Tested, p.Changed)
	if p.Unknown > 0 {
		fmt.Fprintf(w, ", of %d nothing can be told before they attest anew", p.Unknown)
	}
	fmt.Fprintln(w)
	if len(p.Devices) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := a.table("DEVICE", "LABEL", "GROUP", "NOW", "WITH THIS POLICY", "WHY")
	t.width = textWidth
	for _, d := range p.Devices {
		why := d.Note
		if why == "" {
			why = strings.Join(d.Reasons, "; ")
		}
		t.rows = append(t.rows, []cell{
			{text: clipID(d.ID)},
			{text: d.Label},
			{text: d.GroupAfter},
			{string(d.Before), stateColour(d.Before)},
			{string(d.After), stateColour(d.After)},
			{text: why},
		})
	}
	return t.write(w)
}

// colours are those of the lines of a difference.
var colours = map[byte]string{'+': green, '-': red}
