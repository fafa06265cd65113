package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) deviceFiles() *cobra.Command {
	var standing string
	var limit int
	cmd := &cobra.Command{
		Use: "files DEVICE", Short: "Show which programs ran, grouped by file, each against its reference", Args: need("DEVICE"),
		Long: `Show which programs and libraries a device ran since it booted, as its IMA list has them, grouped by file; those that are
not as they should be come first. The exit code is 3 if a file is unknown or denied, and 5 if there is no list.`,
	}
	cmd.Flags().StringVar(&standing, "standing", "", "only files that are matched, unknown, denied, uncovered or explained")
	limitFlag(cmd, &limit, 200, "most files to list")
	_ = cmd.RegisterFlagCompletionFunc("standing", fixed("matched", "unknown", "denied", "uncovered", "explained"))
	query := ofResult(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if standing != "" && !slices.Contains(standings, v1.Standing(standing)) {
			return usagef(cmd, "--standing %q: want matched, unknown, denied, uncovered or explained", standing)
		}
		q, err := query()
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		f, err := c.files(cmd.Context(), args[0], standing, q, limit)
		if err != nil {
			return err
		}
		if f.Next != "" {
			a.say("there are more than %s: narrow with --standing or raise --limit", count(limit, "file"))
		}
		if err := a.print(f, func(w io.Writer) error { return a.writeFileList(w, &f) }); err != nil {
			return err
		}
		switch {
		case f.Counts[string(v1.Unknown)]+f.Counts[string(v1.Denied)] > 0:
			return &exit{code: exitNotTrusted}
		case f.NoList != "":
			return &exit{code: exitUnknown}
		}
		return nil
	}
	return cmd
}

// files collects pages of files up to limit.
func (c *client) files(ctx context.Context, device, standing string, query url.Values, limit int) (v1.Files, error) {
	if standing != "" {
		query.Set("standing", standing)
	}
	all := v1.Files{Files: []v1.File{}}
	err := collect(ctx, c, devicePath(device, "files"), query, limit, func(page *v1.Files) (int, bool) {
		n := len(page.Files)
		page.Files = append(all.Files, page.Files...)
		all = *page
		query.Set("after", page.Next)
		if all.Result != 0 { // a newer result may come between two pages
			query.Set("result", strconv.FormatInt(all.Result, 10))
		}
		return n, page.Next != ""
	})
	return all, err
}

func (a *app) writeFileList(w io.Writer, f *v1.Files) error {
	if f.NoList != "" {
		_, err := fmt.Fprintf(w, "there is no list of files: %s\n", safe(f.NoList))
		return err
	}
	var out bytes.Buffer
	counts := map[v1.Standing]int{}
	for name, n := range f.Counts {
		counts[v1.Standing(name)] = n
	}
	fmt.Fprintf(&out, "result %d, %s since boot; files: %s\n", f.Result, count(int(f.Entries), "measurement"),
		cmp.Or(standingCounts(counts), "nothing"))
	if n := f.Counts["violations"]; n > 0 {
		fmt.Fprintf(&out, "%s: a file was written while it was measured, or the like\n", count(n, "violation"))
	}
	if len(f.Files) > 0 {
		fmt.Fprintln(&out)
		t := a.table("STANDING", "FILE", "DIGEST", "REFERENCE", "TIMES", "VIOLATIONS")
		t.width = 80
		for _, one := range f.Files {
			violations := ""
			if one.Violations > 0 {
				violations = strconv.Itoa(one.Violations)
			}
			t.rows = append(t.rows, []cell{
				{string(one.Standing), standingColour(one.Standing)},
				{text: one.Path},
				{text: a.digestList(one.Digests)},
				{text: one.Reference},
				{text: strconv.Itoa(one.Entries)},
				{text: violations},
			})
		}
		if err := t.write(&out); err != nil {
			return err
		}
	}
	_, err := out.WriteTo(w)
	return err
}

// digestList shows the newest digest of a file, and how many there were before; all of them with -o wide.
func (a *app) digestList(digests []string) string {
	switch n := len(digests); {
	case n == 0:
		return ""
	case a.output == "wide":
		return strings.Join(digests, " ")
	case n == 1:
		return clip(digests[0], 24)
	default:
		return fmt.Sprintf("%s and %d before", clip(digests[n-1], 24), n-1)
	}
}

func (a *app) deviceFlash() *cobra.Command {
	cmd := &cobra.Command{
		Use: "flash DEVICE", Short: "Show a map of a device's flash memory: good, changed, left out, unreadable",
		Args: need("DEVICE"),
		Long: `Show a map of a device's flash memory, chip by chip: which ranges match their reference, which do not, which the signed
reference leaves out and which the device could not read. All of it is self-asserted: the device says so itself. The exit
code is 3 if a range is unknown, missing or denied, and 5 if there is nothing to show.`,
	}
	query := ofResult(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		var f v1.Flash
		if err := a.ask(cmd, args[0], "flash", q, &f); err != nil {
			return err
		}
		if err := a.print(f, func(w io.Writer) error { return a.writeFlashMap(w, &f) }); err != nil {
			return err
		}
		for _, chip := range f.Chips {
			for _, r := range chip.Regions {
				if weighs(r.Standing) {
					return &exit{code: exitNotTrusted}
				}
			}
		}
		if len(f.Chips) == 0 {
			return &exit{code: exitUnknown}
		}
		return nil
	}
	return cmd
}
