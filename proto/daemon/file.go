package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile is the largest configuration file in bytes, maxDepth how deep it may nest.
const (
	maxFile  = 1 << 20
	maxDepth = 8
)

// origin says where each key's value comes from, for error messages: "agent.yaml:7", "environment variable X".
type origin map[string]string

// reader turns a YAML document into plain data while it checks keys against the configuration.
type reader struct {
	name  string
	index index
	from  origin
}

// readFile returns the keys of a configuration file as nested maps with strings, lists and maps at the leaves.
func readFile(name string, x index, from origin) (map[string]any, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("configuration file %s: larger than %s", name, Size(maxFile))
	}
	r := &reader{name: name, index: x, from: from}
	return r.document(b)
}

func (r *reader) document(b []byte) (map[string]any, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return map[string]any{}, nil // empty, or comments only
	case err != nil:
		return nil, fmt.Errorf("configuration file %s: %w", r.name, err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("configuration file %s: more than one YAML document", r.name)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return map[string]any{}, nil
	}
	return r.section("", root)
}

// section reads a map of keys.
func (r *reader) section(key string, n *yaml.Node) (map[string]any, error) {
	if n.Kind != yaml.MappingNode {
		return nil, r.errorf(n, "want a map of keys, such as \"name: value\"")
	}
	out := make(map[string]any, len(n.Content)/2)
	err := r.pairs(n, func(k, v *yaml.Node) error {
		full := k.Value
		if key != "" {
			full = key + "." + k.Value
		}
		var err error
		switch _, known := r.index.fields[full]; {
		case strings.Contains(k.Value, "."): // the same key in two spellings could be there twice
			err = r.errorf(k, "unknown key %q: write sections as nested maps", clip(full))
		case known:
			r.from[full] = fmt.Sprintf("%s:%d", r.name, k.Line)
			out[k.Value], err = r.value(v, maxDepth)
		case r.index.sections[full]:
			out[k.Value], err = r.section(full, v)
		default:
			err = r.errorf(k, "unknown key %q%s", clip(full), DidYouMean(k.Value, r.index.siblings(key)))
		}
		return err
	})
	return out, err
}

// value reads what stands at a key, without a look at its type.
func (r *reader) value(n *yaml.Node, depth int) (any, error) {
	switch {
	case depth == 0:
		return nil, r.errorf(n, "nested too deeply")
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil, r.errorf(n, "no value: give one, or remove the key")
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := r.value(c, depth-1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case n.Kind == yaml.MappingNode:
		out := make(map[string]any, len(n.Content)/2)
		err := r.pairs(n, func(k, v *yaml.Node) (err error) {
			out[k.Value], err = r.value(v, depth-1)
			return err
		})
		return out, err
	}
	return nil, r.errorf(n, "aliases are not supported: repeat the value")
}

// pairs calls visit for every key of a mapping and refuses duplicates.
func (r *reader) pairs(n *yaml.Node, visit func(k, v *yaml.Node) error) error {
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			return r.errorf(k, "want a plain key")
		}
		if first, ok := lines[k.Value]; ok {
			return r.errorf(k, "duplicate key %q, first in line %d", clip(k.Value), first)
		}
		lines[k.Value] = k.Line
		if err := visit(k, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) errorf(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: "+format, append([]any{r.name, n.Line}, args...)...)
}
