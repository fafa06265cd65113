package corim

import "strings"

// CoSWID is a concise-swid-tag (RFC 9393, section 2.3). Only the files of its payload are modelled.
type CoSWID struct {
	ID              ID
	Version         int64 // of the tag
	SoftwareName    string
	SoftwareVersion string
	Entities        []Entity
	Files           []File
	Others          []Field // of the tag; other contents of the payload are not kept
}

// File is a file of a CoSWID's payload. Directories are spelled out in Path.
type File struct {
	Path   string
	Digest Digest // without a value: the document has none
}

func (r *reader) coswid() *CoSWID {
	c := &CoSWID{}
	c.Others = r.fields("CoSWID", []int64{0, 1, 2, 12}, func(key int64) bool {
		switch key {
		case 0:
			c.ID = r.id("CoSWID tag id (0)")
		case 1:
			c.SoftwareName = r.text("software name (1)")
		case 2:
			r.oneOrMore("CoSWID entity (2)", func() { c.Entities = append(c.Entities, r.coswidEntity()) })
		case 6:
			f := files{r: r}
			f.collection("payload (6)", "")
			c.Files = f.out
		case 12:
			c.Version = r.int("tag version (12)")
		case 13:
			c.SoftwareVersion = r.text("software version (13)")
		default:
			return false
		}
		return true
	})
	return c
}

// oneOrMore reads a T or an array of at least two T, which RFC 9393 has for every list (section 2).
func (r *reader) oneOrMore(what string, f func()) {
	if r.peek() == majorArray {
		r.list(what, 2, MaxElements, f)
		return
	}
	f()
}

// coswidEntity reads an entity-entry (RFC 9393, section 2.6).
func (r *reader) coswidEntity() (e Entity) {
	r.part(r.off)
	e.Others = r.fields("CoSWID entity (2)", []int64{31, 33}, func(key int64) bool {
		switch key {
		case 31:
			e.Name = r.text("entity name (31)")
		case 33:
			r.oneOrMore("role (33)", func() { e.Roles = append(e.Roles, r.int("role (33)")) })
		default:
			return false
		}
		return true
	})
	return e
}

// files collects the files of a payload with their full paths.
type files struct {
	r   *reader
	out []File
}

// collection reads directories (16) and files (17) of a payload-entry or of path-elements (RFC 9393, section 2.9.2).
func (f *files) collection(what, parent string) {
	f.r.fields(what, nil, func(key int64) bool {
		switch key {
		case 16:
			f.r.oneOrMore("directory (16)", func() { f.directory(parent) })
		case 17:
			f.r.oneOrMore("file (17)", func() { f.file(parent) })
		default:
			return false
		}
		return true
	})
}

// item is the part that files and directories share (filesystem-item).
type item struct{ location, name, root string }

func (i *item) read(r *reader, key int64) bool {
	switch key {
	case 23:
		i.location = r.text("location (23)")
	case 24:
		i.name = r.text("name (24)")
	case 25:
		i.root = r.text("root (25)")
	default:
		return false
	}
	return true
}

// path returns the full path below parent. A root of its own replaces the parent (RFC 9393, section 2.9.2).
func (i *item) path(parent string) string {
	if i.root != "" {
		parent = ""
	}
	if i.root == "" && i.location == "" && parent != "" && parent[len(parent)-1] != '/' { // nearly always
		return parent + "/" + i.name
	}
	var b strings.Builder
	b.Grow(len(parent) + len(i.root) + len(i.location) + len(i.name) + 3)
	for _, part := range []string{parent, i.root, i.location, i.name} {
		if part == "" {
			continue
		}
		if s := b.String(); s != "" && s[len(s)-1] != '/' {
			b.WriteByte('/')
		}
		b.WriteString(part)
	}
	return b.String()
}

func (f *files) directory(parent string) {
	r := f.r
	r.part(r.off)
	var i item
	var elements int // where the path elements begin; they may stand before the name
	r.fields("directory (16)", []int64{24}, func(key int64) bool {
		if key == 26 {
			elements = r.off
			r.raw()
			return true
		}
		return i.read(r, key)
	})
	if r.err != nil || elements == 0 {
		return
	}
	end := r.off
	r.off = elements
	f.collection("path elements (26)", i.path(parent))
	r.off = end
}

func (f *files) file(parent string) {
	r := f.r
	if r.spent.files++; r.spent.files > MaxFiles {
		r.fail(r.off, "more than %d files", MaxFiles)
	}
	var i item
	var out File
	r.fields("file (17)", []int64{24}, func(key int64) bool {
		if key == 7 {
			out.Digest = r.digest("hash (7)")
			return true
		}
		return i.read(r, key)
	})
	if r.err != nil {
		return
	}
	out.Path = i.path(parent)
	f.out = append(f.out, out)
}
