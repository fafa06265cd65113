// Package rootfs lists what Linux runs of a root file system, as vendors ship it, with the digests under which IMA (the
// kernel's Integrity Measurement Architecture) measures it.
//
// A Tree is filled from folders, tar archives, initial RAM disks (cpio) and Debian packages, in the order in which they
// are laid over each other: a later file replaces an earlier one of the same path. Nothing is written, and nothing of
// an archive is unpacked to disk; every file is hashed once while it passes by.
//
// Which files count follows the kernel's built-in policy ima_policy=tcb (security/integrity/ima/ima_policy.c): programs
// that are executed (BPRM_CHECK), what is mapped as executable (MMAP_CHECK), kernel modules (MODULE_CHECK) and firmware
// for devices (FIRMWARE_CHECK). Of a file at rest that means: it is executable for anybody, or begins as an ELF object
// or as a script with an interpreter, or is a kernel module, packed or not, or lies below /usr/lib/firmware. The policy
// also measures whatever root opens for reading, which cannot be told from the file: Config.All takes every file.
//
// Paths are those that the kernel reports: without symbolic links. /lib/x.so on a machine whose /lib is a link to
// usr/lib is listed as /usr/lib/x.so; a link to a file is not listed, as its target is measured. All names of a file
// with hard links are listed. What lies on file systems that the policy leaves out (/dev, /proc, /run, /sys, /tmp) is
// left out too.
//
// Archives are foreign bytes: names that lead out of the tree, links that go in circles, sizes that contradict each
// other and compression bombs are errors that say where. Work and memory are bounded by limits.go.
//
// Sources: POSIX pax, ustar and GNU tar as Go's archive/tar reads them; Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst; deb(5), ar(5); The .xz File Format 1.2.1; RFC 8878 (Zstandard), RFC 1952 (gzip).
package rootfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/probity-attest/probity/firmware/manifest"
)

// Errors that callers branch on.
var (
	// ErrFormat is wrapped by errors for what is no valid archive, or no tree of files.
	ErrFormat = errors.New("malformed")
	// ErrLimit is wrapped by errors for what exceeds a limit in limits.go.
	ErrLimit = errors.New("limit exceeded")
)

// Merge says whether /bin, /lib, /lib32, /lib64, /libx32 and /sbin are links into /usr ("usr-merge"), as in all current
// distributions.
type Merge uint8

// Values of Merge.
const (
	// MergeAuto goes by the links in the tree. If there are only Debian packages, which hold none, they are taken for
	// parts of a merged system.
	MergeAuto Merge = iota
	MergeYes
	MergeNo // as it stands in the tree
)

// Progress tells how far the reading of a source has come.
type Progress struct {
	Source string
	Done   int64 // bytes read of the source, still packed
	Total  int64 // bytes of the source; 0: not known
	Files  int   // files seen so far
}

// Config says what is listed. Its zero value is right for most.
type Config struct {
	// All lists every regular file, not only what is executed or mapped.
	All   bool
	Merge Merge
	// Progress is called about every mebibyte, and at the end of each source.
	Progress func(Progress)
}

// Stats counts what a tree holds.
type Stats struct {
	Listed   int // files that count, with all their hard links
	Other    int // regular files that don't
	LeftOut  int // files on file systems that the policy leaves out
	Replaced int // files that a later source replaced
	Links    int // symbolic links
	Merged   bool
}

// Tree is a root file system. Add fills it.
type Tree struct {
	config Config
	limits limits
	root   *node
	stats  Stats
	nodes  int
	debs   int // sources of this kind
	others int
}

// New returns an empty tree.
func New(c Config) *Tree {
	return &Tree{config: c, limits: standard, root: &node{kind: kindDir}}
}

// Files returns the files that count, in the order of manifest.SortFiles, with SHA-256 digests.
func (t *Tree) Files() ([]manifest.File, Stats, error) {
	if err := t.merge(); err != nil {
		return nil, Stats{}, err
	}
	l := lister{tree: t}
	if err := l.walk(t.root, ""); err != nil {
		return nil, Stats{}, err
	}
	stats := t.stats
	stats.Listed, stats.Other, stats.LeftOut, stats.Links = len(l.files), l.other, l.leftOut, l.links
	return manifest.SortFiles(l.files), stats, nil
}

// aliases are the folders of the root that are links into /usr on a merged system.
var aliases = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

func (t *Tree) merge() error {
	if t.config.Merge == MergeNo || t.config.Merge == MergeAuto && (t.others > 0 || t.debs == 0) {
		return nil
	}
	t.stats.Merged = true
	for _, name := range aliases {
		if n := t.root.children[name]; n == nil || n.kind != kindDir {
			continue
		}
		if err := t.put(name, node{kind: kindLink, target: "usr/" + name}); err != nil {
			return err
		}
	}
	return nil
}

// leftOut are folders of the root that are file systems of their own, which the policy doesn't measure.
var leftOut = []string{"dev", "proc", "run", "sys", "tmp"}

type lister struct {
	tree                  *Tree
	files                 []manifest.File
	other, leftOut, links int
}

func (l *lister) walk(n *node, path string) error {
	for name, c := range n.children {
		at := path + "/" + name
		switch {
		case c.kind == kindDir:
			if err := l.walk(c, at); err != nil {
				return err
			}
		case c.kind == kindLink:
			l.links++
		case c.kind == kindOther:
			l.other++
		case path != "" && slices.Contains(leftOut, first(path)):
			l.leftOut++
		default:
			f, err := file(at, c.digest)
			if err != nil {
				return err
			}
			l.files = append(l.files, f)
		}
	}
	return nil
}

// Add reads a source: a folder, or a file with a tar archive, an initial RAM disk or a Debian package, which it tells
// by their content. The error says which entry is wrong; the tree is of no use after it.
func (t *Tree) Add(ctx context.Context, path string) error {
	if err := t.add(ctx, path); err != nil {
		return fmt.Errorf("root file system %s: %w", path, err)
	}
	return nil
}
