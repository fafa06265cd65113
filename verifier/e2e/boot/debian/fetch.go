package debian

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// fetcher fetches one set.
type fetcher struct {
	name   Name
	recipe recipe
	cache  string // folder of all sets
	dir    string // of this one
}

func (f *fetcher) missing(what string, err error) error {
	var m *MissingError
	if errors.As(err, &m) {
		return err
	}
	return &MissingError{Set: f.name, What: what, Err: err}
}

// fetch makes the set's folder. The caller holds the lock of its architecture.
func (f *fetcher) fetch(ctx context.Context) error {
	work := filepath.Join(f.cache, ".fetch-"+string(f.name))
	// What a process that was killed left behind is nobody's: we hold the lock.
	if err := os.RemoveAll(work); err != nil {
		return f.missing("clear the cache", err)
	}
	defer os.RemoveAll(work)
	debs, root := filepath.Join(work, "debs"), filepath.Join(work, "root")
	for _, dir := range []string{debs, root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return f.missing("make the cache", err)
		}
	}
	a, err := newApt(f.cache, f.recipe.architecture)
	if err != nil {
		return f.missing("set apt-get up", err)
	}
	refused := a.update(ctx) // older lists may still do
	release, err := f.download(ctx, a, debs)
	if m := (*MissingError)(nil); errors.As(err, &m) && refused != nil {
		m.Err = fmt.Errorf("%w (and its lists are old: %w)", m.Err, refused)
	}
	if err != nil {
		return err
	}
	packages, err := f.unpack(ctx, debs, root)
	if err != nil {
		return err
	}
	if err := f.recipe.locate(&Set{Name: f.name, Root: root, Release: release}); err != nil {
		return f.missing("check the packages", err)
	}
	return f.complete(work, debs, record{f.recipe.requested(), release, packages})
}

// complete writes the record into a set that is unpacked in the folder work and puts that in its place.
func (f *fetcher) complete(work, debs string, r record) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return os.RemoveAll(debs) },
		func() error { return os.WriteFile(filepath.Join(work, recordFile), append(b, '\n'), 0o644) },
		func() error { return os.RemoveAll(f.dir) },
		func() error { return os.Rename(work, f.dir) },
	} {
		if err := step(); err != nil {
			return f.missing("complete the set", err)
		}
	}
	return nil
}

// download gets the packages' archives into a folder and returns the kernel's release.
func (f *fetcher) download(ctx context.Context, a *apt, dir string) (string, error) {
	names, release := slices.Clone(f.recipe.packages), ""
	if f.recipe.kernel != "" {
		image, err := a.kernel(ctx, f.recipe.kernel)
		if err != nil {
			return "", f.missing("find the newest kernel", err)
		}
		names, release = append(names, image), strings.TrimPrefix(image, imagePrefix)
	}
	if err := a.download(ctx, dir, names); err != nil {
		return "", f.missing("download "+strings.Join(names, ", "), err)
	}
	return release, nil
}

// unpack unpacks every archive in debs below root.
func (f *fetcher) unpack(ctx context.Context, debs, root string) ([]Package, error) {
	files, err := os.ReadDir(debs)
	if err == nil && len(files) == 0 {
		err = errors.New("apt-get downloaded no packages")
	}
	if err != nil {
		return nil, f.missing("unpack", err)
	}
	var packages []Package
	for _, file := range files {
		deb := filepath.Join(debs, file.Name())
		out, err := run(ctx, "", "dpkg-deb", "--field", deb, "Package", "Version", "Architecture")
		if err != nil {
			return nil, f.missing("read "+file.Name(), err)
		}
		p, err := parseFields(out)
		if err != nil {
			return nil, f.missing("read "+file.Name(), err)
		}
		packages = append(packages, p)
		if _, err := run(ctx, "", "dpkg-deb", "--extract", deb, root); err != nil {
			return nil, f.missing("unpack "+file.Name(), err)
		}
	}
	slices.SortFunc(packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return packages, nil
}

// parseFields reads control fields as dpkg-deb prints them, "Field: value" a line (deb-control(5)).
func parseFields(out []byte) (Package, error) {
	var p Package
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		field, value, _ := strings.Cut(sc.Text(), ": ")
		switch field {
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Architecture = value
		}
	}
	if p.Name == "" || p.Version == "" || p.Architecture == "" {
		return p, fmt.Errorf("control fields %q: want Package, Version and Architecture", out)
	}
	return p, nil
}
