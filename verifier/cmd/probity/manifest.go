package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/manifest/corim"
)

// diagnostic marks commands that also know -o diag.
const diagnostic = "diag"

func (a *app) manifestCommand() *cobra.Command {
	g := group("manifest", "Make, sign and read manifests of known-good firmware",
		a.manifestCreateCommand(), a.manifestImportCommand(), a.manifestInspectCommand(), a.manifestDiffCommand(),
		a.manifestLintCommand(), a.manifestSignCommand(), a.manifestVerifyCommand())
	g.Long = `Make, sign and read manifests: what a vendor, lab or builder publishes of one version of a model's firmware, as a CoRIM
(Concise Reference Integrity Manifest). create, import, inspect, diff, lint, sign and verify need neither a verifier nor a
device:

  probity key generate -O acme.pem
  probity manifest create --vendor Acme --model R7 --version 2.5.0 --svn 7 \
      --firmware OVMF_CODE.fd --vars OVMF_VARS.fd --uki r7.efi --disk r7.img --rootfs r7-root.tar.zst -O r7.corim
  probity manifest lint r7.corim
  probity manifest sign --key acme.pem r7.corim
  probity key public acme.pem -O acme.pub
  probity manifest verify --trust acme.pub r7.signed.corim`
	g.AddCommand(a.manifestServerCommands()...)
	return g
}

// document is a manifest as it is in a file.
type document struct {
	name      string
	bytes     []byte
	unsigned  []byte // the CoRIM in it
	manifest  *manifest.Manifest
	signature *manifest.Signature // what the envelope claims; nil: it is not signed
}

// readManifest reads a manifest, signed or not. Nothing is verified.
func (a *app) readManifest(name string) (*document, error) {
	b, err := a.readFile(name, manifest.MaxSize)
	if err != nil {
		return nil, err
	}
	d := &document{name: name, bytes: b, unsigned: b}
	if signed(b) {
		if d.unsigned, d.signature, err = manifest.Unverified(b); err != nil {
			return nil, manifestError(name, err)
		}
	}
	if d.manifest, err = manifest.Decode(d.unsigned); err != nil {
		return nil, manifestError(name, err)
	}
	return d, nil
}

// signed reports whether bytes begin with the tag of COSE_Sign1 (RFC 9052, section 4.2).
func signed(b []byte) bool { return len(b) > 0 && b[0] == 0xd2 }

// manifestError says what to do about a document that is none of ours.
func manifestError(name string, err error) error {
	var malformed *manifest.MalformedError
	switch {
	case errors.Is(err, manifest.ErrProfile):
		return fmt.Errorf("%s: %w\nlook at it with: probity manifest inspect -o diag %s", shownName(name), err, name)
	case errors.As(err, &malformed):
		return fmt.Errorf("%s: %w; is this a manifest, and is it whole?", shownName(name), err)
	}
	return fmt.Errorf("%s: %w", shownName(name), err)
}

func (a *app) manifestInspectCommand() *cobra.Command {
	var files bool
	c := &cobra.Command{
		Use: "inspect FILE", Short: "Show what a manifest says", Args: need("FILE"),
		Long: `Show what a manifest says, signed or not. Nothing is verified: see probity manifest verify. With -o diag any CoRIM is shown
as it is encoded, in CBOR diagnostic notation, also one of another profile. - is standard input.`,
		Example: `  probity manifest inspect r7.corim
  probity manifest inspect --files r7.corim
  probity manifest inspect -o diag other-tool.corim`,
		Annotations: map[string]string{diagnostic: ""},
		RunE: func(_ *cobra.Command, args []string) error {
			if a.output == diagnostic {
				return a.diagnose(args[0])
			}
			d, err := a.readManifest(args[0])
			if err != nil {
				return err
			}
			return a.print(viewOf(d), func(w io.Writer) error { return a.writeManifest(w, d, files) })
		},
	}
	c.Flags().BoolVar(&files, "files", false, "list all files in the table")
	return c
}

func (a *app) diagnose(name string) error {
	b, err := a.readFile(name, corim.MaxSize)
	if err != nil {
		return err
	}
	var out strings.Builder
	if err := corim.Diagnose(&out, b); err != nil {
		return fmt.Errorf("%s: %w", shownName(name), err)
	}
	_, err = io.WriteString(a.stdout, safeLines(out.String()))
	return err
}

func (a *app) manifestDiffCommand() *cobra.Command {
	var strict bool
	c := &cobra.Command{
		Use: "diff OLD NEW", Short: "Show what changed between two manifests", Args: need("OLD", "NEW"),
		Long: `Show what changed from one manifest to another: versions, validity, PCRs and boot events, flash regions, files. What
promises less than before, such as a range of flash that is no longer measured, stands as a concern.`,
		Example: `  probity manifest diff r7-2.4.corim r7-2.5.corim
  probity manifest diff -o json --strict r7-2.4.corim r7-2.5.corim`,
		RunE: func(_ *cobra.Command, args []string) error { return a.diffManifests(args[0], args[1], strict) },
	}
	c.Flags().BoolVar(&strict, "strict", false, "exit with code 1 if there is a concern")
	return c
}

func (a *app) diffManifests(older, newer string, strict bool) error {
	from, err := a.readManifest(older)
	if err != nil {
		return err
	}
	to, err := a.readManifest(newer)
	if err != nil {
		return err
	}
	changes := manifest.Diff(from.manifest, to.manifest)
	concerns := 0
	for i := range changes {
		if changes[i].Concern != "" {
			concerns++
		}
	}
	view := struct {
		Changes []manifest.Change `json:"changes"`
	}{append([]manifest.Change{}, changes...)}
	err = a.print(view, func(w io.Writer) error {
		if len(changes) == 0 {
			_, err := fmt.Fprintln(w, "no differences")
			return err
		}
		t := a.table("CHANGE", "COMPONENT", "FROM", "TO", "CONCERN")
		t.width = textWidth
		for _, c := range changes {
			t.rows = append(t.rows, []cell{
				{text: string(c.Kind)}, {text: c.Component}, {text: brief(c.From)}, {text: brief(c.To)}, {c.Concern, yellow},
			})
		}
		return t.write(w)
	})
	if err == nil && strict && concerns > 0 {
		return &exit{exitError, fmt.Errorf("%d concerns", concerns)}
	}
	return err
}

// brief shortens the digests in a text to what people compare by eye.
func brief(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		if algorithm, digits, ok := strings.Cut(w, ":"); ok && strings.HasPrefix(algorithm, "sha") && len(digits) > shortDigest {
			words[i] = algorithm + ":" + clipDigest(digits)
			if strings.HasSuffix(digits, ",") {
				words[i] += ","
			}
		}
	}
	return strings.Join(words, " ")
}

func (a *app) manifestLintCommand() *cobra.Command {
	var strict bool
	c := &cobra.Command{
		Use: "lint FILE", Short: "Say what weakens a manifest", Args: need("FILE"),
		Long: `Say what weakens a manifest, or its author may not have meant: no end of validity, code that isn't covered, large ranges
of flash that aren't measured. A manifest with warnings is valid.`,
		Example: "  probity manifest lint --strict r7.corim && probity manifest sign --key acme.pem r7.corim",
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := a.readManifest(args[0])
			if err != nil {
				return err
			}
			warnings := manifest.Lint(d.manifest)
			view := struct {
				Warnings []manifest.Warning `json:"warnings"`
			}{append([]manifest.Warning{}, warnings...)}
			if err := a.print(view, func(w io.Writer) error { return a.writeWarnings(w, warnings) }); err != nil {
				return err
			}
			if strict && len(warnings) > 0 {
				return &exit{exitError, fmt.Errorf("%d warnings", len(warnings))}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&strict, "strict", false, "exit with code 1 if there are warnings")
	return c
}

func (a *app) writeWarnings(w io.Writer, warnings []manifest.Warning) error {
	if len(warnings) == 0 {
		_, err := fmt.Fprintln(w, "no warnings")
		return err
	}
	t := a.table("WARNING", "COMPONENT", "WHAT TO DO")
	for _, x := range warnings {
		t.rows = append(t.rows, []cell{{x.Code, yellow}, {text: x.Component}, {text: x.Message}})
	}
	return t.write(w)
}

// moment is a flag with a time: a day, which begins in UTC, or a time of RFC 3339.
type moment struct{ time.Time }

func (m *moment) Type() string { return "TIME" }

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.UTC().Format(time.RFC3339)
}

func (m *moment) Set(s string) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			m.Time = t.UTC()
			return nil
		}
	}
	return errors.New("want a day such as 2026-12-31, or a time such as 2026-12-31T12:00:00Z")
}

// writeOut writes a file that is not there yet half when something fails: it is complete or not there. - is stdout.
func (a *app) writeOut(name string, b []byte, mode os.FileMode) error {
	if name == "-" {
		_, err := a.stdout.Write(b)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what failed is said
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
