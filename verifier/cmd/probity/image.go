package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/pcr"
)

func (a *app) imageCommand() *cobra.Command {
	g := group("image", "Look into firmware images, offline", a.imageShowCommand(), a.imageDiffCommand())
	g.Long = `Look into firmware images: UEFI volumes with their modules, NVRAM, microcode, U-Boot FIT and uImage. Compressed parts are
unpacked in memory.`
	return g
}

const lenientHelp = "keep damaged parts as data instead of refusing the image"

func (a *app) imageShowCommand() *cobra.Command {
	var c image.Config
	cmd := &cobra.Command{
		Use: "show FILE", Short: "Show the parts of a firmware image", Args: need("FILE"),
		Long: `Show the parts of a firmware image: volumes, modules by GUID and name, variables, kernels. Digests are those of the bytes as
firmware measures them: of volumes after unpacking. EFI programs are measured by another digest (Authenticode).`,
		Example: "  probity image show OVMF_CODE.fd\n  probity image show --lenient -o json captured.bin",
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := a.readImage(args[0], c)
			if err != nil {
				return err
			}
			return a.print(partView(m.Root), func(w io.Writer) error { return a.writeParts(w, m) })
		},
	}
	cmd.Flags().BoolVar(&c.Lenient, "lenient", false, lenientHelp)
	return cmd
}

func (a *app) readImage(name string, c image.Config) (*image.Image, error) {
	b, err := a.readFile(name, image.MaxSize)
	if err != nil {
		return nil, err
	}
	m, err := c.Parse(b)
	if err != nil && !c.Lenient {
		return nil, fmt.Errorf("%s: %w; --lenient shows what can be read", shownName(name), err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shownName(name), err)
	}
	return m, nil
}

// part is a part of an image for tools.
type part struct {
	Kind     image.Kind `json:"kind"`
	Type     string     `json:"type,omitempty"`
	GUID     string     `json:"guid,omitempty"`
	Name     string     `json:"name,omitempty"`
	Offset   int        `json:"offset"` // in the image, or in the unpacked data of the part around it
	Length   int        `json:"length"`
	SHA256   string     `json:"sha256"`
	Unpacked bool       `json:"unpacked,omitempty"` // its parts lie in its unpacked data
	Detail   string     `json:"detail,omitempty"`
	Problem  string     `json:"problem,omitempty"`
	Parts    []part     `json:"parts,omitempty"`
}

func partView(p *image.Part) part {
	v := part{
		Kind: p.Kind, Type: p.Type, Name: p.Name, Offset: p.Offset, Length: p.Length(),
		SHA256: hex.EncodeToString(p.Digest(pcr.SHA256)), Detail: p.Detail, Problem: p.Problem,
	}
	if p.GUID != (image.GUID{}) {
		v.GUID = p.GUID.String()
	}
	_, v.Unpacked = p.Unpacked()
	for _, c := range p.Children {
		v.Parts = append(v.Parts, partView(c))
	}
	return v
}

func (a *app) writeParts(w io.Writer, m *image.Image) error {
	t := a.table("OFFSET", "LENGTH", "SHA256", "PART", "DETAIL")
	t.width = textWidth
	var walk func(p *image.Part, depth int)
	walk = func(p *image.Part, depth int) {
		offset := fmt.Sprintf("%#x", p.Offset)
		if p.Space != nil {
			offset = "+" + offset // in unpacked data
		}
		detail := cell{text: p.Detail}
		if p.Problem != "" {
			detail = cell{strings.TrimPrefix(p.Detail+"; "+p.Problem, "; "), red}
		}
		t.rows = append(t.rows, []cell{
			{text: offset},
			{text: strconv.Itoa(p.Length())},
			{text: short(p.Digest(pcr.SHA256))},
			{text: strings.Repeat("  ", depth) + p.Label()},
			detail,
		})
		for _, c := range p.Children {
			walk(c, depth+1)
		}
	}
	walk(m.Root, 0)
	return t.write(w)
}

func (a *app) imageDiffCommand() *cobra.Command {
	var c image.Config
	cmd := &cobra.Command{
		Use: "diff OLD NEW", Short: "Show what changed between two firmware images", Args: need("OLD", "NEW"),
		Long: `Show what changed between two firmware images: modules, volumes, variables and kernels that were added, removed, changed or
moved, by GUID and name, with the first bytes that differ. Nobody has to be told which image is the good one: give the
vendor's first, then what a device had.`,
		Example: "  probity image diff vendor.fd captured.bin\n  probity image diff --lenient -o json vendor.fd captured.bin",
		RunE: func(_ *cobra.Command, args []string) error {
			older, err := a.readImage(args[0], c)
			if err != nil {
				return err
			}
			newer, err := a.readImage(args[1], c)
			if err != nil {
				return err
			}
			d := image.Diff(older, newer)
			if d.Changes == nil {
				d.Changes = []image.Change{}
			}
			return a.print(d, func(w io.Writer) error { return a.writeImageDiff(w, d) })
		},
	}
	cmd.Flags().BoolVar(&c.Lenient, "lenient", false, lenientHelp)
	return cmd
}

func (a *app) writeImageDiff(w io.Writer, d *image.Difference) error {
	if d.Same() && len(d.Moved) == 0 {
		_, err := fmt.Fprintln(w, "no differences")
		return err
	}
	colours := map[image.Op]string{image.OpAdded: green, image.OpRemoved: red, image.OpChanged: yellow}
	for i := range d.Changes {
		c := &d.Changes[i]
		fmt.Fprintln(w, a.paint(safe(c.String()), colours[c.Op])) // w is a buffer
		for _, h := range c.Hex {
			writeHex(w, h)
		}
	}
	for i := range d.Moved {
		fmt.Fprintln(w, safe(d.Moved[i].String()))
	}
	if d.Omitted > 0 {
		fmt.Fprintf(w, "and %d more\n", d.Omitted)
	}
	_, err := fmt.Fprintf(w, "\nchanges: %d, moved: %d\n", len(d.Changes), len(d.Moved))
	return err
}

// writeHex writes a range of bytes that differ: "    0x40  12 bytes  00 01 02 -> ff ff ff".
func writeHex(w io.Writer, h image.HexRange) {
	more := ""
	if n := max(len(h.Old), len(h.New)) / 2; n < h.Length {
		more = " ..."
	}
	fmt.Fprintf(w, "    %#x, %d bytes: %s -> %s%s\n", h.Offset, h.Length, spaced(h.Old), spaced(h.New), more)
}

// spaced puts a space between the bytes of hexadecimal text.
func spaced(digits string) string {
	if digits == "" {
		return "nothing"
	}
	var b strings.Builder
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(digits[i:min(i+2, len(digits))])
	}
	return b.String()
}
