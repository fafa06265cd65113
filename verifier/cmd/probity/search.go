package main

import (
	"bytes"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) searchCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "search TEXT", Short: "Find every device, manifest and time that a digest, file name, GUID or advisory occurs in",
		Args: need("TEXT"),
		Long: `Find everything that a digest, a file name or part of one, the GUID of a firmware module, an advisory or another text occurs
in: devices that have it or ever had it and until when, manifests, baselines, deny-lists and findings.`,
		Example: `  probity search 5f21ff2c0d5d8998a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778
  probity search /usr/sbin/sshd
  probity search CVE-2026-12345`,
	}
	limitFlag(cmd, &limit, 200, "most places to list")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, args []string) error {
		all := v1.Search{Hits: []v1.Hit{}}
		query := url.Values{"q": {args[0]}}
		err := collect(cmd.Context(), c, "/v1/search", query, limit, func(page *v1.Search) (int, bool) {
			n := len(page.Hits)
			page.Hits = append(all.Hits, page.Hits...)
			all = *page
			query.Set("after", page.Next)
			return n, page.Next != ""
		})
		if err != nil {
			return err
		}
		if all.Next != "" {
			a.say("there are more places: raise --limit")
		}
		return a.print(all, func(w io.Writer) error { return a.writeSearch(w, &all) })
	})
	return cmd
}

func (a *app) writeSearch(w io.Writer, s *v1.Search) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s, as %s: ", safe(s.Query), safe(s.Kind))
	switch {
	case len(s.Hits) == 0:
		fmt.Fprintln(&out, "occurs nowhere")
	case s.Devices == 0:
		fmt.Fprintln(&out, "no device ever had it")
	default:
		fmt.Fprintf(&out, "%s had it, %s now\n", count(s.Devices, "device"), haveIt(s.Now))
	}
	if len(s.Hits) > 0 {
		fmt.Fprintln(&out)
		t := a.table("KIND", "WHERE", "NAME", "PLACE", "FIRST SEEN", "UNTIL", "+DIGEST")
		t.width = textWidth
		for _, h := range s.Hits {
			row := []cell{
				{text: h.Kind},
				{text: h.Object},
				{text: h.Name},
				{text: h.Place},
				{text: stamp(h.First)},
				{text: stamp(h.Until)},
				{text: h.Digest},
			}
			if h.Kind == "device" {
				row[1].text = a.shownID(h.Object)
				if h.Until == nil {
					row[5] = cell{"still there", red}
				}
			}
			t.rows = append(t.rows, row)
		}
		if err := t.write(&out); err != nil {
			return err
		}
	}
	_, err := out.WriteTo(w)
	return err
}

func haveIt(n int) string {
	switch n {
	case 0:
		return "none has it"
	case 1:
		return "1 has it"
	}
	return grouped(n) + " have it"
}
