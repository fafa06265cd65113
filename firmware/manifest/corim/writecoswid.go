package corim

import "strings"

// coswid writes a CoSWID. Files of one directory that stand one after the other share a directory entry; files whose
// path has no directory below the root stand alone and must be the last.
func (w *writer) coswid(c *CoSWID) {
	entries := []entry{
		{0, func() { w.id(c.ID) }},
		{1, func() { w.text(c.SoftwareName) }},
		{2, func() { oneOrMore(w, c.Entities, w.coswidEntity) }},
		{12, func() { w.int(c.Version) }},
	}
	if c.SoftwareVersion != "" {
		entries = append(entries, entry{13, func() { w.text(c.SoftwareVersion) }})
	}
	if len(c.Files) > 0 {
		entries = append(entries, entry{6, func() { w.payload(c.Files) }})
	}
	w.object(entries, c.Others)
}

func oneOrMore[T any](w *writer, list []T, f func(*T)) {
	if len(list) == 1 {
		f(&list[0])
		return
	}
	array(w, list, f)
}

func (w *writer) coswidEntity(e *Entity) {
	w.object([]entry{
		{31, func() { w.text(e.Name) }},
		{33, func() { oneOrMore(w, e.Roles, func(n *int64) { w.int(*n) }) }},
	}, e.Others)
}

// SplitPath returns the directory and the name of an absolute path: "/usr/bin", "ls". The directory is empty for a file
// in the root.
func SplitPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

func (w *writer) payload(files []File) {
	var groups [][]File // of one directory each
	top := len(files)
	for i := 0; i < len(files); {
		dir, _ := SplitPath(files[i].Path)
		if dir == "" {
			top = i
			break
		}
		k := i + 1
		for k < len(files) && strings.HasPrefix(files[k].Path, dir) && strings.LastIndexByte(files[k].Path, '/') == len(dir) {
			k++
		}
		groups = append(groups, files[i:k])
		i = k
	}
	var entries []entry
	if len(groups) > 0 {
		entries = append(entries, entry{16, func() { oneOrMore(w, groups, w.directory) }})
	}
	if top < len(files) {
		entries = append(entries, entry{17, func() { oneOrMore(w, files[top:], w.rootFile) }})
	}
	w.object(entries, nil)
}

// directory writes a directory-entry: location, name, root and the files (RFC 9393, section 2.9.2).
func (w *writer) directory(group *[]File) {
	dir, _ := SplitPath((*group)[0].Path)
	location, name := SplitPath(dir)
	entries := []entry{
		{24, func() { w.text(name) }},
		{25, func() { w.text("/") }},
		{26, func() { w.object([]entry{{17, func() { oneOrMore(w, *group, w.file) }}}, nil) }},
	}
	if location = strings.TrimPrefix(location, "/"); location != "" {
		entries = append(entries, entry{23, func() { w.text(location) }})
	}
	w.object(entries, nil)
}

// file writes a file-entry of a directory. It is the bulk of a large manifest, hence by hand.
func (w *writer) file(f *File) {
	_, name := SplitPath(f.Path)
	w.head(majorMap, 2)
	w.int(7)
	w.digest(&f.Digest)
	w.int(24)
	w.text(name)
}

// rootFile writes the file-entry of a file in the root.
func (w *writer) rootFile(f *File) {
	_, name := SplitPath(f.Path)
	w.head(majorMap, 3)
	w.int(7)
	w.digest(&f.Digest)
	w.int(24)
	w.text(name)
	w.int(25)
	w.text("/")
}
