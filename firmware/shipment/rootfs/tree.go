package rootfs

import (
	"crypto/sha256"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// kind is what a node of the tree is.
type kind uint8

const (
	kindDir   kind = iota + 1
	kindLink       // symbolic
	kindFile       // a file that counts
	kindOther      // a file that doesn't, a device, a socket
)

type node struct {
	kind     kind
	target   string // of a link, as it is stored
	children map[string]*node
	digest   [sha256.Size]byte // of a file that counts
}

// first returns the first part of an absolute path.
func first(p string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	return name
}

func file(p string, digest [sha256.Size]byte) (manifest.File, error) {
	if !utf8.ValidString(p) {
		return manifest.File{}, fmt.Errorf("%w: file %q: a manifest lists only paths in UTF-8: rename it", ErrFormat, p)
	}
	return manifest.File{Path: p, Digest: manifest.Digest{Algorithm: pcr.SHA256, Value: digest[:]}}, nil
}

// clean returns the path of an archive's entry without leading slashes and dots; "" is the root. A path that would lead
// out of the tree is an error, not cut: whoever wrote it meant harm.
func clean(name string) (string, error) {
	switch {
	case len(name) > MaxPath:
		return "", fmt.Errorf("%w: path %.60q... of %d bytes, at most %d allowed", ErrLimit, name, len(name), MaxPath)
	case strings.ContainsRune(name, 0):
		return "", fmt.Errorf("%w: path %q with NUL", ErrFormat, name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%w: path %q leads out of the tree: want names without '..' in them", ErrFormat, name)
		}
	}
	p := strings.TrimPrefix(path.Clean("/"+name), "/")
	if n := strings.Count(p, "/"); n >= MaxDepth {
		return "", fmt.Errorf("%w: path %.60q... is %d folders deep, at most %d allowed", ErrLimit, name, n, MaxDepth)
	}
	return p, nil
}

// put places a node at a clean path, as unpacking over what is there would: through links in the path, replacing a file
// or link of the name. A folder that is there stays; one that becomes a link moves its content to the link's target.
func (t *Tree) put(name string, n node) error {
	if name == "" {
		return nil
	}
	dir, base := path.Split(name)
	stack, err := t.walk([]*node{t.root}, dir, new(int))
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	old := stack[len(stack)-1].children[base]
	if err := t.place(stack[len(stack)-1], base, &n); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	if n.kind != kindLink || old == nil || old.kind != kindDir || len(old.children) == 0 {
		return nil
	}
	if stack, err = t.follow(stack, &n, new(int)); err == nil {
		err = t.graft(stack[len(stack)-1], old, 0)
	}
	if err != nil {
		return fmt.Errorf("%q is a folder with files and a link: %w", name, err)
	}
	return nil
}

func (t *Tree) place(parent *node, base string, n *node) error {
	old := parent.children[base]
	switch {
	case old == nil:
		if t.nodes++; t.nodes > t.limits.entries {
			return fmt.Errorf("%w: more than %d files, folders and links", ErrLimit, t.limits.entries)
		}
	case n.kind == kindDir && (old.kind == kindDir || old.kind == kindLink):
		return nil // a link to a folder stays one, as with dpkg
	case old.kind == kindDir && n.kind != kindLink && len(old.children) > 0:
		return fmt.Errorf("%w: it is a file here and was a folder with files before", ErrFormat)
	case old.kind == kindFile:
		t.stats.Replaced++
	}
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	parent.children[base] = n
	return nil
}

// graft moves the content of a folder into another, where it doesn't replace what is there.
func (t *Tree) graft(to, from *node, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: more than %d folders deep", ErrLimit, MaxDepth)
	}
	for name, c := range from.children {
		switch there := to.children[name]; {
		case there == nil:
			if to.children == nil {
				to.children = map[string]*node{}
			}
			to.children[name] = c
		case there.kind == kindDir && c.kind == kindDir:
			if err := t.graft(there, c, depth+1); err != nil {
				return err
			}
		case there.kind == kindFile && c.kind == kindFile && there.digest != c.digest:
			return fmt.Errorf("%w: %q is there twice with different content, also below /usr", ErrFormat, name)
		}
	}
	return nil
}

// walk goes from the last folder of a stack of folders along a path, makes the folders that are missing, and returns
// the stack to where it leads.
func (t *Tree) walk(stack []*node, p string, links *int) ([]*node, error) {
	stack = stack[:len(stack):len(stack)]
	for part := range strings.SplitSeq(p, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(len(stack)-1, 1):max(len(stack)-1, 1)]
			continue
		}
		at := stack[len(stack)-1]
		n := at.children[part]
		if n == nil {
			n = &node{kind: kindDir}
			if err := t.place(at, part, n); err != nil {
				return nil, err
			}
		}
		switch n.kind {
		case kindDir:
			stack = append(stack, n)
		case kindLink:
			next, err := t.follow(stack, n, links)
			if err != nil {
				return nil, err
			}
			stack = next
		default:
			return nil, fmt.Errorf("%w: %q on its path is a file", ErrFormat, part)
		}
		if len(stack) > MaxDepth {
			return nil, fmt.Errorf("%w: more than %d folders deep", ErrLimit, MaxDepth)
		}
	}
	return stack, nil
}

// follow goes where a link in the last folder of a stack leads, inside the tree: .. above the root stays at the root,
// as in the kernel.
func (t *Tree) follow(stack []*node, link *node, links *int) ([]*node, error) {
	if *links++; *links > MaxLinks {
		return nil, fmt.Errorf("%w: more than %d symbolic links on its path: they go in a circle", ErrLimit, MaxLinks)
	}
	if path.IsAbs(link.target) {
		stack = []*node{t.root}
	}
	return t.walk(stack, link.target, links)
}

// find returns the node at a clean path as put placed it, nil if there is none. Links in the path are followed, one at
// its end is not.
func (t *Tree) find(name string) (*node, error) {
	dir, base := path.Split(name)
	stack, err := t.walk([]*node{t.root}, dir, new(int))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	return stack[len(stack)-1].children[base], nil
}
