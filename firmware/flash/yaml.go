package flash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ParseLayout reads a layout. It is strict: an unknown or repeated key, a second document, an anchor, alias or tag, a
// value of another form, regions of one source that overlap, a repeated name, a length of zero and an excluded range
// outside its region are errors. The error is always a *LayoutError.
func ParseLayout(b []byte) (*Layout, error) {
	if len(b) > MaxLayoutSize {
		return nil, &LayoutError{Detail: fmt.Sprintf("over the limit of %d bytes", MaxLayoutSize)}
	}
	var root, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	switch err := d.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, &LayoutError{Detail: "is empty: want the key regions"}
	case err != nil:
		return nil, yamlError(err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, yamlError(err)
		}
		return nil, &LayoutError{Line: more.Line, Detail: "a second document begins: want one"}
	}
	p := layoutParser{names: map[string]int{}}
	if len(root.Content) != 1 {
		return nil, &LayoutError{Detail: "is empty: want the key regions"}
	}
	if err := p.layout(field{node: root.Content[0]}); err != nil {
		return nil, err
	}
	return &Layout{Regions: p.regions}, nil
}

// yamlError drops the library's name from its message, which has the line.
func yamlError(err error) *LayoutError {
	return &LayoutError{Detail: strings.TrimPrefix(err.Error(), "yaml: ")}
}

// field is a value in the file and the path of keys to it.
type field struct {
	key  string
	node *yaml.Node
}

func (f field) fail(format string, args ...any) error {
	return &LayoutError{Line: f.node.Line, Key: f.key, Detail: fmt.Sprintf(format, args...)}
}

// plain refuses what makes a file mean something else than it seems to.
func (f field) plain() error {
	switch n := f.node; {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return f.fail("anchors and aliases are not allowed: write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		return f.fail("tag %s: tags are not allowed", n.Tag)
	}
	return nil
}

// mapping returns the values of a mapping by key, all of which must be known.
func (f field) mapping(known ...string) (map[string]field, error) {
	if err := f.plain(); err != nil {
		return nil, err
	}
	if f.node.Kind != yaml.MappingNode {
		return nil, f.fail("want a mapping with the keys %s", strings.Join(known, ", "))
	}
	out := make(map[string]field, len(known))
	for i := 0; i+1 < len(f.node.Content); i += 2 {
		key := field{key: f.key, node: f.node.Content[i]}
		if err := key.plain(); err != nil {
			return nil, err
		}
		name := key.node.Value
		if key.node.Kind != yaml.ScalarNode || !slices.Contains(known, name) {
			return nil, key.fail("unknown key %q%s", clip(name), didYouMean(name, known))
		}
		if _, twice := out[name]; twice {
			return nil, key.fail("key %q stands twice", name)
		}
		out[name] = field{key: strings.TrimPrefix(f.key+"."+name, "."), node: f.node.Content[i+1]}
	}
	return out, nil
}

// list returns the values of a list of at most limit.
func (f field) list(limit int) ([]field, error) {
	if err := f.plain(); err != nil {
		return nil, err
	}
	if f.node.Kind != yaml.SequenceNode {
		return nil, f.fail("want a list")
	}
	if len(f.node.Content) > limit {
		return nil, f.fail("%d entries, at most %d allowed", len(f.node.Content), limit)
	}
	out := make([]field, len(f.node.Content))
	for i, n := range f.node.Content {
		out[i] = field{key: fmt.Sprintf("%s[%d]", f.key, i), node: n}
	}
	return out, nil
}

// text returns a scalar as it is written, whichever type YAML would take it for: a region may be named 0.1 or on.
func (f field) text() (string, error) {
	if err := f.plain(); err != nil {
		return "", err
	}
	if f.node.Kind != yaml.ScalarNode || f.node.Tag == "!!null" {
		return "", f.fail("want a value")
	}
	return f.node.Value, nil
}

// clip shortens what is repeated in messages.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// layoutParser collects regions.
type layoutParser struct {
	regions []Region
	names   map[string]int // line of each name
	lines   []int          // line of each region
}

func (p *layoutParser) layout(f field) error {
	keys, err := f.mapping("regions")
	if err != nil {
		return err
	}
	regions, ok := keys["regions"]
	if !ok {
		return f.fail("want the key regions")
	}
	list, err := regions.list(MaxRegions)
	if err != nil {
		return err
	}
	for _, item := range list {
		if err := p.region(item); err != nil {
			return err
		}
	}
	return nil
}

func (p *layoutParser) region(f field) error {
	r, keys, err := parseRegion(f)
	if err != nil {
		return err
	}
	if line, twice := p.names[r.Name]; twice {
		return keys["name"].fail("%q is the name of the region in line %d already", r.Name, line)
	}
	for i, o := range p.regions {
		if r.overlaps(o) {
			return f.fail("%q (%s at %#x of %v) overlaps %q (%s at %#x) in line %d", r.Name,
				lengthText(r.Length), r.Offset, r.Source, o.Name, lengthText(o.Length), o.Offset, p.lines[i])
		}
	}
	p.names[r.Name] = keys["name"].node.Line
	p.regions, p.lines = append(p.regions, r), append(p.lines, f.node.Line)
	return nil
}

func parseRegion(f field) (r Region, keys map[string]field, err error) {
	if keys, err = f.mapping("name", "source", "offset", "length", "exclude"); err != nil {
		return r, nil, err
	}
	for _, need := range []string{"name", "source"} {
		if _, ok := keys[need]; !ok {
			return r, nil, f.fail("want the key %s", need)
		}
	}
	if r.Name, err = keys["name"].text(); err != nil {
		return r, nil, err
	}
	source, err := keys["source"].text()
	if err != nil {
		return r, nil, err
	}
	if r.Source, err = ParseSource(source); err != nil {
		return r, nil, keys["source"].fail("%v", err)
	}
	if r.Offset, err = number(keys, "offset", 0); err != nil {
		return r, nil, err
	}
	if r.Length, err = number(keys, "length", 1); err != nil {
		return r, nil, err
	}
	if x, ok := keys["exclude"]; ok {
		if r.Exclude, r.Reasons, err = parseExclude(x); err != nil {
			return r, nil, err
		}
	}
	return r, keys, valid(r, keys)
}

// valid checks a region and points at the value that is wrong.
func valid(r Region, keys map[string]field) error {
	err := r.Valid()
	var exclude *excludeError
	switch {
	case err == nil:
		return nil
	case validName(r.Name) != nil:
		return keys["name"].fail("%v", err)
	case !errors.As(err, &exclude):
		return keys["length"].fail("%v", err)
	case exclude.index < 0:
		return keys["exclude"].fail("%s", exclude.detail)
	}
	list, err := keys["exclude"].list(MaxRanges)
	if err != nil {
		return err
	}
	return list[exclude.index].fail("%s", exclude.detail)
}

// parseExclude reads excluded ranges and their reasons, which are nil if there are none at all.
func parseExclude(f field) ([]Range, []string, error) {
	list, err := f.list(MaxRanges)
	if err != nil {
		return nil, nil, err
	}
	var out []Range
	var reasons []string
	for i, item := range list {
		x, reason, err := parseRange(item)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, x)
		if reason != "" {
			if reasons == nil {
				reasons = make([]string, len(list))
			}
			reasons[i] = reason
		}
	}
	return out, reasons, nil
}

func parseRange(f field) (x Range, reason string, err error) {
	keys, err := f.mapping("offset", "length", "reason")
	if err != nil {
		return x, "", err
	}
	for _, need := range []string{"offset", "length"} {
		if _, ok := keys[need]; !ok {
			return x, "", f.fail("want the key %s", need)
		}
	}
	if x.Offset, err = number(keys, "offset", 0); err != nil {
		return x, "", err
	}
	if x.Length, err = number(keys, "length", 1); err != nil {
		return x, "", err
	}
	if r, ok := keys["reason"]; ok {
		if reason, err = r.text(); err != nil {
			return x, "", err
		}
		if err := validReason(reason); err != nil {
			return x, "", r.fail("%v", err)
		}
	}
	return x, reason, nil
}

// number returns the number of bytes at a key, which is at least least if it is there at all.
func number(keys map[string]field, name string, least uint64) (uint64, error) {
	f, ok := keys[name]
	if !ok {
		return 0, nil
	}
	text, err := f.text()
	if err != nil {
		return 0, err
	}
	n, err := ParseBytes(text)
	if err != nil {
		return 0, f.fail("%v", err)
	}
	if n < least {
		return 0, f.fail("%d: want at least %d byte; leave the key of a region out to mean all up to the source's end", n, least)
	}
	return n, nil
}
