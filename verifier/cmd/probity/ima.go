package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/ima"
)

func (a *app) imaCommand() *cobra.Command {
	show := &cobra.Command{
		Use:   "show FILE",
		Short: "Show an IMA measurement list and the PCR values that it replays to",
		Long: `Show an IMA measurement list, binary or ASCII, and the PCR values that it replays to. Nothing in it is verified: it
is what a machine says of itself. On Linux the file is /sys/kernel/security/ima/binary_runtime_measurements; - is
standard input.`,
		Args: need("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return a.showIMA(args[0]) },
	}
	return group("ima", "Explain IMA measurement lists, offline", show)
}

func (a *app) showIMA(name string) error {
	b, err := a.readFile(name, ima.MaxList)
	if err != nil {
		return err
	}
	list, err := ima.ReadList(b)
	if err != nil {
		return fmt.Errorf("%s: %w", shownName(name), err)
	}
	view := list.View()
	return a.print(view, func(w io.Writer) error { return a.writeIMA(w, view) })
}

func (a *app) writeIMA(w io.Writer, v ima.View) error {
	t := a.table("ENTRY", "PCR", "PATH", "DIGEST", "FLAGS")
	t.width = textWidth
	for _, e := range v.List {
		path := e.Path
		if path == "" {
			path = "(" + e.Template + ")"
		}
		digest := e.Digest
		if digest != "" {
			digest = e.Algorithm + ":" + clipDigest(digest)
		}
		flags := cell{text: strings.Join(imaFlags(e), ",")}
		if flags.text != "" {
			flags.colour = yellow
		}
		t.rows = append(t.rows, []cell{
			{text: strconv.Itoa(e.Number)}, {text: strconv.FormatUint(uint64(e.PCR), 10)}, {text: path}, {text: digest}, flags,
		})
	}
	if err := t.write(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%d entries, %d violations\n", v.Entries, v.Violations); err != nil {
		return err
	}
	// By bank, as the values of a boot log are shown.
	for _, bank := range []string{"sha1", "sha256"} {
		values := map[string]string{}
		for i, banks := range v.PCRs {
			if value := banks[bank]; value != "" {
				values[i] = value
			}
		}
		if err := a.writePCRs(w, bank, values); err != nil {
			return err
		}
	}
	return nil
}

// imaFlags returns what is remarkable about an entry.
func imaFlags(e ima.EntryView) []string {
	var flags []string
	switch {
	case e.Violation:
		flags = append(flags, "violation") // changed while it was measured: its content is not known
	case !e.Consistent:
		flags = append(flags, "altered") // the data does not have the template digest
	}
	if e.Signature != "" {
		flags = append(flags, "signed")
	}
	if e.Buffer != "" {
		flags = append(flags, "buffer")
	}
	return flags
}
