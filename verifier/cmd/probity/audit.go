package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/audit"
)

func (a *app) auditCommand() *cobra.Command {
	g := group("audit", "Who did or saw what: a log that is only ever added to",
		a.reads(a.auditList()), a.auditExport(), a.auditVerify())
	g.Long = `Who did or saw what: a log that is only ever added to. Every entry holds a digest over the one before, so that an export
shows whether something was changed, inserted or taken out:

  probity audit export -O audit.jsonl
  probity audit verify audit.jsonl`
	return g
}

// auditFlags select entries.
type auditFlags struct{ actor, action, object, from, to string }

func (f *auditFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.actor, "actor", "", "`NAME` of who did it")
	flags.StringVar(&f.action, "action", "", "`ID` of what was done, such as remove-device")
	flags.StringVar(&f.object, "object", "", "beginning of the `PATH` that it was done to, such as /v1/devices/")
	flags.StringVar(&f.from, "from", "", "`TIME`, or how long ago: 90m, 24h, 7d")
	flags.StringVar(&f.to, "to", "", "`TIME`, or how long ago")
}

func (f *auditFlags) query(cmd *cobra.Command) (url.Values, error) {
	query := url.Values{}
	for name, value := range map[string]string{"actor": f.actor, "action": f.action, "object": f.object} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if err := between(query, f.from, f.to, time.Now()); err != nil {
		return nil, usagef(cmd, "%v", err)
	}
	return query, nil
}

func (a *app) auditList() *cobra.Command {
	var filter auditFlags
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List who did or saw what, newest first", Args: need(),
		Example: `  probity audit list --from 24h --action remove-device
  probity audit list --actor ada -o wide`,
	}
	filter.register(cmd)
	limitFlag(cmd, &limit, 100, "most entries to list")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query, err := filter.query(cmd)
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		all, err := c.audit(cmd.Context(), query, limit)
		if err != nil {
			return err
		}
		return a.print(all, func(w io.Writer) error { return a.writeAudit(w, all.Entries) })
	}
	return cmd
}

// audit collects pages up to limit.
func (c *client) audit(ctx context.Context, query url.Values, limit int) (v1.Audit, error) {
	all := v1.Audit{Entries: []v1.AuditEntry{}}
	err := collect(ctx, c, "/v1/audit", query, limit, func(page *v1.Audit) (int, bool) {
		all.Entries, all.Next = append(all.Entries, page.Entries...), page.Next
		query.Set("before", strconv.FormatInt(page.Next, 10))
		return len(page.Entries), page.Next != 0
	})
	return all, err
}

func (a *app) writeAudit(w io.Writer, list []v1.AuditEntry) error {
	t := a.table("AT", "ACTOR", "ROLE", "ACTION", "OBJECT", "OUTCOME", "TIMES", "REMOTE", "+DETAIL", "+REQUEST", "+SEQ",
		"+CHAIN")
	t.width = textWidth
	for _, e := range list {
		times, colour := "", ""
		if e.Times > 1 {
			times = grouped(e.Times)
		}
		if e.Outcome != audit.OK {
			colour = yellow
		}
		t.rows = append(t.rows, []cell{
			{text: stamp(&e.At)},
			{text: e.Actor},
			{text: string(e.Role)},
			{text: e.Action},
			{text: e.Object},
			{fmt.Sprintf("%s (%d)", e.Outcome, e.Status), colour},
			{text: times},
			{text: e.Remote},
			{text: e.Detail},
			{text: e.Request},
			{text: strconv.FormatInt(e.Seq, 10)},
			{text: e.Chain},
		})
	}
	return t.write(w)
}

func (a *app) auditExport() *cobra.Command {
	var filter auditFlags
	var out outFlags
	cmd := &cobra.Command{
		Use: "export", Short: "Write the audit log as JSON lines, oldest first, as \"audit verify\" reads it", Args: need(),
	}
	filter.register(cmd)
	out.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query, err := filter.query(cmd)
		if err != nil {
			return err
		}
		return a.download(cmd.Context(), request{
			method: http.MethodGet, path: "/v1/audit/export", query: query, accept: "*/*",
		}, out)
	}
	return cmd
}

// auditReport is what "audit verify" writes as JSON and YAML.
type auditReport struct {
	audit.Summary
	Whole bool `json:"whole"` // it begins with the first entry of the log and leaves nothing out
}

func (a *app) auditVerify() *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE", Short: "Check offline that nothing in an exported audit log was changed, inserted or taken out",
		Args: need("FILE"),
		Long: `Check offline that nothing in an exported audit log was changed, inserted or taken out (FILE - for standard input). Who can
write the verifier's database could drop the newest entries, or write the log anew from some entry on: keep the last chain
that is shown elsewhere, and look for it in later exports.`,
		RunE: func(_ *cobra.Command, args []string) error {
			in := a.stdin
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			s, err := audit.Verify(in)
			if err != nil {
				return fmt.Errorf("%s: %w", shownName(args[0]), err)
			}
			if s.Entries == 0 {
				return fmt.Errorf("%s: there is no entry in it", shownName(args[0]))
			}
			r := auditReport{s, s.Whole()}
			if err := a.print(r, func(w io.Writer) error { return writeAuditReport(w, &r) }); err != nil {
				return err
			}
			if s.Gaps > 0 {
				return &exit{exitUnknown, errors.New("entries are missing: an export of everything, or of a span of time, has all of them")}
			}
			return nil
		},
	}
}

func writeAuditReport(w io.Writer, r *auditReport) error {
	missing := "none"
	if r.Gaps > 0 {
		missing = "in " + count(r.Gaps, "place")
	}
	begins := "with the first entry of the log"
	if r.First.Seq != 1 {
		begins = "with entry " + strconv.FormatInt(r.First.Seq, 10)
	}
	_, err := io.WriteString(w, lineText([]line{
		{"entries", grouped(r.Entries) + ", each as it was written"},
		{"missing", missing},
		{"begins", begins + ", " + stamp(&r.First.At)},
		{"ends", "with entry " + strconv.FormatInt(r.Last.Seq, 10) + ", " + stamp(&r.Last.At)},
		{"last chain", fmt.Sprintf("%x", r.Last.Chain)},
	}))
	return err
}
