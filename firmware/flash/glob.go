package flash

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/hostfs"
)

// Expand returns the regions that a region with a pattern stands for, one for each file that matches, in order of name;
// any other region stands for itself. The name of each is the region's, a slash and the path from the first part with a
// special character on: boot and file:/lib/x/*.bin give boot/a.bin. Bytes of a path that do not belong in a name become
// %XX. The error wraps fs.ErrNotExist if nothing matches.
func (m Machine) Expand(r Region) ([]Region, error) {
	if !r.Source.Pattern() {
		return []Region{r}, nil
	}
	if _, err := ParseSource(r.Source.String()); err != nil {
		return nil, err
	}
	fixed, open := split(r.Source.Name)
	found, err := m.tree().glob(literal(fixed), open)
	if err != nil {
		return nil, fmt.Errorf("region %q: %v: %w", r.Name, r.Source, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("region %q: %v: no file matches: %w", r.Name, r.Source, fs.ErrNotExist)
	}
	slices.Sort(found)
	out := make([]Region, len(found))
	for i, name := range found {
		x := r
		x.Name = r.Name + "/" + nameFrom(name)
		x.Source.Name = escape(path.Join(literal(fixed), name))
		if len(x.Name) > MaxExpandedName || len(x.Source.String()) > MaxSource {
			return nil, fmt.Errorf("region %q: %v matches a path of %d bytes: too long to be named", r.Name, r.Source, len(name))
		}
		out[i] = x
	}
	return out, nil
}

// Regions expands a whole layout. What can not be expanded is an error beside the other regions, so that one missing
// file keeps none of the others from being read. The regions are at most MaxRegions.
func (m Machine) Regions(l *Layout) ([]Region, []error) {
	var out []Region
	var errs []error
	for _, r := range l.Regions {
		x, err := m.Expand(r)
		if err == nil && len(out)+len(x) > MaxRegions {
			err = fmt.Errorf("region %q: %v matches %d files, which makes over %d regions in all: narrow the pattern",
				r.Name, r.Source, len(x), MaxRegions)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, x...)
	}
	return out, errs
}

// split divides a pattern before the first part that has a special character.
func split(pattern string) (fixed string, open []string) {
	parts := strings.Split(pattern, "/")
	i := slices.IndexFunc(parts, hasMeta)
	return strings.Join(parts[:i], "/"), parts[i:]
}

// glob returns the paths below dir that match the parts one by one. Directories do not match the last part.
func (t tree) glob(dir string, parts []string) ([]string, error) {
	found := []string{""}
	for i, part := range parts {
		var next []string
		for _, below := range found {
			more, err := t.matches(path.Join(dir, below), part, i == len(parts)-1)
			if err != nil {
				return nil, err
			}
			for _, name := range more {
				next = append(next, path.Join(below, name))
			}
			if len(next) > MaxRegions {
				return nil, fmt.Errorf("over %d paths match: narrow the pattern", MaxRegions)
			}
		}
		found = next
	}
	return found, nil
}

// matches returns the names in dir that match one part of a pattern: of directories, or at the end of a pattern of
// everything else. Links count as what they lead to; one that leads nowhere counts as a file, so that reading it tells.
func (t tree) matches(dir, part string, last bool) ([]string, error) {
	names, err := t.names(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if ok, err := path.Match(part, name); err != nil || !ok {
			continue
		}
		if t.isDirectory(path.Join(dir, name)) != last {
			out = append(out, name)
		}
	}
	return out, nil
}

func (t tree) isDirectory(name string) bool {
	f, err := t.open(name, hostfs.Folder)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// nameFrom makes a path a part of a region's name. Different paths give different names.
func nameFrom(p string) string {
	var b strings.Builder
	for i := range len(p) {
		if c := p[i]; c == '/' || strings.IndexByte(nameBytes, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
