package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// standings are all standings, those that weigh first.
var standings = []v1.Standing{
	v1.Denied, v1.Changed, v1.Unknown, v1.Missing, v1.Unreadable, v1.Uncovered, v1.Excluded, v1.Explained, v1.Matched,
}

// weighs reports whether something that stands so is not as it should be.
func weighs(s v1.Standing) bool {
	return s == v1.Denied || s == v1.Changed || s == v1.Unknown || s == v1.Missing
}

func standingColour(s v1.Standing) string {
	switch {
	case weighs(s):
		return red
	case s == v1.Unreadable, s == v1.Uncovered:
		return yellow
	case s == v1.Matched:
		return green
	}
	return ""
}

// ofResult adds the flag --result, which names another result than the newest, and returns how to ask for it.
func ofResult(cmd *cobra.Command) func() (url.Values, error) {
	seq := cmd.Flags().Int64("result", 0, "`NUMBER` of a result, as device show lists them (default: the newest)")
	return func() (url.Values, error) {
		query := url.Values{}
		if *seq < 0 {
			return nil, usagef(cmd, "--result %d: want a number of a result", *seq)
		}
		if *seq > 0 {
			query.Set("result", strconv.FormatInt(*seq, 10))
		}
		return query, nil
	}
}

// ask gets a document about a device.
func (a *app) ask(cmd *cobra.Command, device, what string, query url.Values, out any) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	return c.call(cmd.Context(), http.MethodGet, devicePath(device, what), query, nil, out)
}

func (a *app) deviceBoot() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "boot DEVICE", Short: "Show how a device booted, PCR by PCR, each event against its reference", Args: need("DEVICE"),
		Long: `Show how a device booted, PCR by PCR: what is measured into it, whether the events explain its value, and the events that no
reference value has. With --all every event is shown. The exit code is 3 if something is unknown, missing or denied, and 5
if there is no boot log.`,
	}
	cmd.Flags().BoolVar(&all, "all", false, "show all events, those that match too")
	query := ofResult(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		var b v1.Boot
		if err := a.ask(cmd, args[0], "boot", q, &b); err != nil {
			return err
		}
		if err := a.print(b, func(w io.Writer) error { return a.writeBoot(w, &b, all) }); err != nil {
			return err
		}
		return bootVerdict(&b)
	}
	return cmd
}

// bootVerdict returns the exit code that a boot deserves.
func bootVerdict(b *v1.Boot) error {
	for _, p := range b.PCRs {
		if weighs(p.Standing) {
			return &exit{code: exitNotTrusted}
		}
		for _, e := range p.Events {
			if weighs(e.Standing) {
				return &exit{code: exitNotTrusted}
			}
		}
	}
	if b.Log == "" {
		return &exit{code: exitUnknown}
	}
	return nil
}

func (a *app) writeBoot(w io.Writer, b *v1.Boot, all bool) error {
	var out bytes.Buffer
	references := "no reference values"
	if len(b.References) > 0 {
		references = "reference values: " + strings.Join(b.References, ", ")
	}
	fmt.Fprintf(&out, "result %d at %s, bank %s, %s\n", b.Result, stamp(&b.At), safe(b.Bank), safe(references))
	if b.Log == "" {
		fmt.Fprintf(&out, "there is no boot log: %s\n", safe(b.NoLog))
	}
	fmt.Fprintln(&out)
	t := a.table("PCR", "WHAT", "STANDING", "EVENTS", "EXPLAINED", "+VALUE")
	for _, p := range b.PCRs {
		replayed := "no"
		if p.Replayed {
			replayed = "yes"
		}
		t.rows = append(t.rows, []cell{
			{text: strconv.Itoa(p.Index)},
			{text: p.Name},
			{string(p.Standing), standingColour(p.Standing)},
			{text: tally(p.Events)},
			{text: replayed},
			{text: p.Value},
		})
	}
	if err := t.write(&out); err != nil {
		return err
	}
	t = a.table("PCR", "EVENT", "STANDING", "TEXT", "DIGEST", "REFERENCE", "+TYPE")
	t.width = 60
	for _, p := range b.PCRs {
		for _, e := range p.Events {
			if !all && (e.Standing == v1.Matched || e.Standing == v1.Explained) {
				continue
			}
			t.rows = append(t.rows, a.eventRow(p.Index, &e))
		}
	}
	if len(t.rows) > 0 {
		fmt.Fprintln(&out)
		if err := t.write(&out); err != nil {
			return err
		}
	}
	_, err := out.WriteTo(w)
	return err
}

func (a *app) eventRow(pcr int, e *v1.BootEvent) []cell {
	number, text := "", e.Text
	if e.Number > 0 {
		number = strconv.Itoa(e.Number)
	}
	switch {
	case text == "":
		text = e.Type
	case !e.Proven:
		text += " (claimed)"
	}
	digest := e.Digest
	if a.output != "wide" {
		digest = clipDigest(digest)
	}
	return []cell{
		{text: strconv.Itoa(pcr)},
		{text: number},
		{string(e.Standing), standingColour(e.Standing)},
		{text: text},
		{text: digest},
		{text: e.Reference},
		{text: e.Type},
	}
}

// tally counts events by standing, those that weigh first.
func tally(events []v1.BootEvent) string {
	counts := map[v1.Standing]int{}
	for _, e := range events {
		counts[e.Standing]++
	}
	return standingCounts(counts)
}

func standingCounts(counts map[v1.Standing]int) string {
	var parts []string
	for _, s := range standings {
		if n := counts[s]; n > 0 {
			parts = append(parts, grouped(n)+" "+string(s))
		}
	}
	return strings.Join(parts, ", ")
}
