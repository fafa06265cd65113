package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/manifest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

const (
	// uploadTimeout is how long sending a manifest may take.
	uploadTimeout = 10 * time.Minute
	// maxProofFile is the largest log proof that is sent, in bytes: what fits into a header.
	maxProofFile = 8 << 10
	// pollEvery is how often the verifier is asked how far long work is.
	pollEvery = 500 * time.Millisecond
	// shownFindings is how many findings of a device a dry run shows in its table.
	shownFindings = 3
)

// manifestServerCommands are the commands of "probity manifest" that speak to a verifier.
func (a *app) manifestServerCommands() []*cobra.Command {
	return []*cobra.Command{
		a.writes(a.manifestSubmit()), a.manifestDryRun(), a.reads(a.manifestList()), a.reads(a.manifestStatus()),
		a.reads(a.manifestCoverage()), a.writes(a.manifestApprove()), a.writes(a.manifestRefuse()),
		a.writes(a.manifestSupersede()), a.writes(a.manifestWithdraw()), a.writes(a.manifestSettings()),
	}
}

// upload sends a document as it is.
func (c *client) upload(ctx context.Context, path string, query url.Values, proof, document []byte, out any) error {
	if c.instead != nil && changesSomething(http.MethodPost, path, nil) {
		return c.instead(http.MethodPost, path, query, nil)
	}
	r := request{
		method: http.MethodPost, path: path, query: query, accept: jsonAnswer, kind: "application/cose", body: document,
		timeout: uploadTimeout, header: http.Header{},
	}
	if len(proof) > 0 {
		r.header.Set(v1.LogProofHeader, base64.StdEncoding.EncodeToString(proof))
	}
	res, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return decode(res.Body, out)
}

func (a *app) manifestSubmit() *cobra.Command {
	var overlap time.Duration
	var proof string
	cmd := &cobra.Command{
		Use: "submit FILE", Short: "Submit a signed manifest or deny-list, or another signature of one (FILE - for standard input)",
		Args: need("FILE"),
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 0, "how long the manifests that this one supersedes stay valid (default: as it says itself)")
	cmd.Flags().StringVar(&proof, "log-proof", "", "`FILE` with the proof of its inclusion in a transparency log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		seconds, err := wholeSeconds(cmd, "overlap", overlap)
		if err != nil {
			return err
		}
		document, err := a.readFile(args[0], manifest.MaxSize)
		if err != nil {
			return err
		}
		var logProof []byte
		if proof != "" {
			if logProof, err = a.readFile(proof, maxProofFile); err != nil {
				return err
			}
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		if a.dryRun {
			a.say("dry run: nothing is submitted; this is what it would change")
			return a.dryRunOf(cmd.Context(), c, document)
		}
		query := url.Values{}
		if cmd.Flags().Changed("overlap") {
			query.Set("overlap_seconds", strconv.FormatInt(seconds, 10))
		}
		var m v1.Manifest
		if err := c.upload(cmd.Context(), "/v1/manifests", query, logProof, document, &m); err != nil {
			return err
		}
		a.say("submitted %s", m.Name)
		return a.printManifest(m)
	}
	return cmd
}

func (a *app) manifestList() *cobra.Command {
	var state, vendor, model string
	cmd := &cobra.Command{Use: "list", Short: "List manifests and deny-lists of a verifier", Args: need()}
	cmd.Flags().StringVar(&state, "state", "", "only those that are submitted, active, superseded, withdrawn or void")
	cmd.Flags().StringVar(&vendor, "vendor", "", "only those of this vendor")
	cmd.Flags().StringVar(&model, "model", "", "only those of this model")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{}
		for name, value := range map[string]string{"state": state, "vendor": vendor, "model": model} {
			if value != "" {
				query.Set(name, value)
			}
		}
		return show(a, cmd, "/v1/manifests", query, func(w io.Writer, list *v1.Manifests) error {
			return a.writeManifests(w, list.Manifests)
		})
	}
	return cmd
}

func (a *app) writeManifests(w io.Writer, list []v1.Manifest) error {
	t := a.table("ID", "VENDOR", "MODEL", "VERSION", "STATE", "FROM", "UNTIL", "ENDORSED BY", "DIGEST")
	t.width = textWidth
	for _, m := range list {
		what := m.Version
		if m.Advisory != "" {
			what = "denies: " + m.Advisory
		}
		t.add(m.Name, m.Vendor, m.Model, what, m.State, stamp(&m.From), stamp(m.Until), endorsers(&m), shortKey(m.Digest))
	}
	return t.write(w)
}

func endorsers(m *v1.Manifest) string {
	var names []string
	for _, e := range m.Endorsements {
		name := e.Name + " (" + e.Role + ")"
		if e.Void != "" {
			name = e.Name + " (void)"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func manifestPath(name string, rest ...string) string {
	p := "/v1/manifests/" + url.PathEscape(name)
	for _, r := range rest {
		p += "/" + r
	}
	return p
}

func (a *app) manifestStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status MANIFEST", Short: "Show where a manifest stands (MANIFEST: id, vendor:id, digest or its start)", Args: need("MANIFEST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onManifest(cmd.Context(), args[0], http.MethodGet, nil)
		},
	}
}

func (a *app) manifestSupersede() *cobra.Command {
	var overlap time.Duration
	cmd := &cobra.Command{
		Use: "supersede OLD NEW", Short: "Let NEW take the place of OLD, after an overlap in which both are valid", Args: need("OLD", "NEW"),
		ValidArgsFunction: a.completeManifests,
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 0, "how long both are valid, such as 720h")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		seconds, err := wholeSeconds(cmd, "overlap", overlap)
		if err != nil {
			return err
		}
		return a.onManifest(cmd.Context(), args[0], http.MethodPost, v1.Supersession{By: args[1], Overlap: seconds}, "supersede")
	}
	return cmd
}

func (a *app) manifestWithdraw() *cobra.Command {
	var in v1.Withdrawal
	cmd := &cobra.Command{
		Use: "withdraw MANIFEST --reason TEXT", Short: "Declare that a manifest or deny-list was wrong; it does not come back",
		Args: need("MANIFEST"),
	}
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if in.Reason == "" {
			return usagef(cmd, "--reason is missing: others will ask")
		}
		return a.onManifest(cmd.Context(), args[0], http.MethodPost, in, "withdraw")
	}
	return cmd
}

func (a *app) onManifest(ctx context.Context, name, method string, in any, rest ...string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var m v1.Manifest
	if err := c.call(ctx, method, manifestPath(name, rest...), nil, in, &m); err != nil {
		return missing(err, "manifest", name, "manifest list")
	}
	return a.printManifest(m)
}

func (a *app) printManifest(m v1.Manifest) error {
	return a.print(m, func(w io.Writer) error {
		t := a.table("MANIFEST", "")
		t.heads[1].name = m.Name
		add := func(name, value string) {
			if value != "" && value != "-" {
				t.add(name, value)
			}
		}
		add("vendor", m.Vendor)
		add("model", m.Model)
		add("version", m.Version)
		add("denies", m.Advisory)
		state := m.State
		if m.SupersededBy != "" {
			state += " by " + m.SupersededBy
		}
		add("state", state)
		counts := "no"
		if m.Counts {
			counts = "yes"
		}
		add("counts", counts)
		add("from", stamp(&m.From))
		add("until", stamp(m.Until))
		add("own validity", ownPeriod(m.NotBefore, m.NotAfter))
		add("withdrawn", stamp(m.Withdrawn))
		add("reason", m.Reason)
		add("log proof", m.LogProof)
		add("digest", "sha256:"+m.Digest)
		for _, e := range m.Endorsements {
			text := fmt.Sprintf("%s (%s), key %s, submitted %s", e.Name, e.Role, shortKey(e.Key), stamp(&e.Submitted))
			if e.Void != "" {
				text += "; void: " + e.Void
			}
			add("endorsed by", text)
		}
		for _, l := range approvalLines(&m) {
			add(l.name, l.value)
		}
		return t.write(w)
	})
}

func ownPeriod(from, until *time.Time) string {
	if from == nil && until == nil {
		return ""
	}
	return stamp(from) + " to " + stamp(until)
}

func (a *app) manifestSettings() *cobra.Command {
	var require bool
	var approvals int
	cmd := &cobra.Command{
		Use: "settings", Short: "Show or change what is demanded of manifests", Args: need(),
		Long: `Show or change what is demanded of manifests.

With --approvals N a submitted manifest counts only when N people other than its submitter consented to it ("probity
manifest approve"). Those that were submitted before keep what held then.

With --require-log-proof a manifest is accepted only with a proof of its inclusion in a transparency log, so that nobody
can be shown a special one unseen. The verifier knows no such log yet and can check no proof: it then accepts no manifest
at all. Those that were accepted before stay.`,
	}
	cmd.Flags().BoolVar(&require, "require-log-proof", false, "accept manifests only with a log proof")
	cmd.Flags().IntVar(&approvals, "approvals", 0, "how many others must consent before a manifest counts, 0 to 5")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, _ []string) error {
		var s v1.Settings
		var in v1.SettingsPatch
		if cmd.Flags().Changed("require-log-proof") {
			in.RequireLogProof = &require
		}
		if cmd.Flags().Changed("approvals") {
			in.ManifestApprovals = &approvals
		}
		method, body := http.MethodGet, any(nil)
		if in != (v1.SettingsPatch{}) {
			method, body = http.MethodPatch, in
		}
		if err := c.call(cmd.Context(), method, "/v1/settings", nil, body, &s); err != nil {
			return err
		}
		return a.print(s, func(w io.Writer) error {
			t := a.table("SETTING", "VALUE")
			t.add("approvals", strconv.Itoa(s.ManifestApprovals))
			t.add("require-log-proof", strconv.FormatBool(s.RequireLogProof))
			return t.write(w)
		})
	})
	return cmd
}
