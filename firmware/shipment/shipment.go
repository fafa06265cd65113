// Package shipment makes a manifest of what a vendor ships: firmware and flash images, kernel and boot loaders, root
// file systems. No device has to be booted for it.
//
// Build takes the PCRs from package predict, flash regions from package flash, files from package rootfs below, and
// what images cannot tell, if the vendor wants that, from the boot log of a device. The Report says of every PCR where
// its events come from, whether they are all that may be measured there, and if not, why.
//
// A manifest made here has no secrets and no machine's own data, and is the same for the same input. It is not signed;
// package manifest signs it. Limits are those of the packages named, and of package manifest.
package shipment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/firmware/predict"
	"github.com/probity-attest/probity/firmware/shipment/rootfs"
)

// ErrInput is wrapped by errors for input that contradicts itself or lacks something. Images and archives that cannot
// be read give the errors of their packages.
var ErrInput = errors.New("cannot make a manifest")

func inputError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInput, fmt.Errorf(format, args...))
}

// Input is what a vendor ships. Everything but About is optional, but something must be there.
type Input struct {
	// About is what the vendor states: id, vendor, model, version, security version numbers, validity, which manifests
	// it supersedes or withdraws. Build adds PCRs, regions and files.
	About manifest.Manifest

	// Boot is what a device boots; nil: nothing is predicted.
	Boot *predict.Input
	// Logs are boot logs of devices that are known to be good.
	Logs []Log
	// FromLogs are PCRs of which events in a log are allowed though the images don't predict them, such as those of an
	// option ROM. In other PCRs that are predicted, such events are only reported.
	FromLogs pcr.Selection

	// Layout lists the regions of the flash, Images what a factory writes there.
	Layout *flash.Layout
	Images []Image

	// RootFS are paths of folders, archives and packages, in the order in which they are laid over each other.
	RootFS []string
	// Files says which files count; its Progress is not used.
	Files rootfs.Config

	// Progress, if it is set, is called while long work is done.
	Progress func(Progress)
}

// Progress tells how far a step has come.
type Progress struct {
	Step  string // "flash region bios", "root file system rootfs.tar"
	Done  uint64 // bytes
	Total uint64 // bytes; 0: not known
	Files int    // of a root file system
}

// Image is the content of a flash memory.
type Image struct {
	// Source is what the layout calls the memory; the zero Source stands for the only one in the layout.
	Source  flash.Source
	Content io.ReaderAt
	Size    uint64 // bytes
}

// Report says what became of the input.
type Report struct {
	Firmware   string      `json:"firmware,omitempty"`    // that was recognised
	SecureBoot string      `json:"secure_boot,omitempty"` // state that the PCRs are for: "on", "off", "unknown"
	PCRs       []Register  `json:"pcrs,omitempty"`        // all from 0 to 14
	Regions    []Region    `json:"regions,omitempty"`     // in the layout's order
	RootFS     *Files      `json:"rootfs,omitempty"`
	Logs       []LogReport `json:"logs,omitempty"`
}

// Register says what is known of a PCR.
type Register struct {
	Index    int    `json:"pcr"`
	Coverage string `json:"coverage"`         // "complete", "partial", "informative", "none"
	Origin   string `json:"origin,omitempty"` // "images", "log", "images and log"
	Events   int    `json:"events"`
	Why      string `json:"why,omitempty"` // why the coverage is not complete, or what it takes for granted
}

// Region says what became of a region of the layout.
type Region struct {
	Name     string `json:"name"`
	Length   uint64 `json:"length,omitempty"`
	Excluded uint64 `json:"excluded,omitempty"` // bytes
	Left     string `json:"left_out,omitempty"` // why it is not in the manifest
	Note     string `json:"note,omitempty"`
}

// Files counts the files.
type Files struct {
	Listed   int  `json:"listed"`
	Other    int  `json:"other"`    // files that IMA doesn't measure for being run or mapped
	LeftOut  int  `json:"left_out"` // on file systems that IMA's policy leaves out
	Replaced int  `json:"replaced"` // by a later source
	Merged   bool `json:"usr_merged,omitempty"`
}

// Build makes the manifest. The error wraps ErrInput, is the context's, or one of the packages that read the input.
func Build(ctx context.Context, in Input) (*manifest.Manifest, *Report, error) {
	if err := in.validate(); err != nil {
		return nil, nil, err
	}
	m := in.About
	b := &builder{in: &in, m: &m, report: &Report{}}
	for _, step := range []func(context.Context) error{b.boot, b.flash, b.files} {
		if err := cmp.Or(ctx.Err(), step(ctx)); err != nil {
			return nil, nil, err
		}
	}
	if err := m.Validate(); err != nil {
		return nil, nil, inputError("%w", err)
	}
	return &m, b.report, nil
}

// builder makes one manifest.
type builder struct {
	in     *Input
	m      *manifest.Manifest
	report *Report
}

func (in *Input) validate() error {
	a := &in.About
	switch {
	case a.IsDenyList():
		return inputError("a deny-list is not made of images")
	case len(a.PCRs)+len(a.Regions)+len(a.Files) > 0:
		return inputError("reference values are stated already")
	case in.Boot == nil && len(in.Logs)+len(in.Images)+len(in.RootFS) == 0:
		return inputError("there is nothing to make it of: give firmware, kernel, flash image, root file system or boot log")
	case len(in.Images) > 0 && in.Layout == nil:
		return inputError("a flash image without a layout, which says which regions it has and which bytes differ between devices")
	case in.Layout != nil && len(in.Images) == 0:
		return inputError("a layout without a flash image")
	case in.FromLogs != 0 && len(in.Logs) == 0:
		return inputError("PCRs %v are to be taken from a log, but there is none", in.FromLogs)
	}
	if err := a.Validate(); err != nil {
		return inputError("%w", err)
	}
	return nil
}

func (b *builder) progress(p Progress) {
	if b.in.Progress != nil {
		b.in.Progress(p)
	}
}

func (b *builder) files(ctx context.Context) error {
	if len(b.in.RootFS) == 0 {
		return nil
	}
	c := b.in.Files
	c.Progress = func(p rootfs.Progress) {
		b.progress(Progress{
			Step: "root file system " + p.Source, Done: uint64(max(p.Done, 0)), Total: uint64(max(p.Total, 0)), Files: p.Files,
		})
	}
	tree := rootfs.New(c)
	for _, path := range b.in.RootFS {
		if err := tree.Add(ctx, path); err != nil {
			return err
		}
	}
	files, stats, err := tree.Files()
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	b.m.Files = files
	b.report.RootFS = &Files{
		Listed: stats.Listed, Other: stats.Other, LeftOut: stats.LeftOut, Replaced: stats.Replaced, Merged: stats.Merged,
	}
	return nil
}

// cut shortens a text to what a manifest takes, at a character's end. An event whose slot is shortened is still known
// by its digest.
func cut(s string, limit int) string {
	const more = "..."
	if len(s) <= limit {
		return s
	}
	end := limit - len(more)
	for end > 0 && s[end]&0xc0 == 0x80 {
		end--
	}
	return s[:end] + more
}

// sortEvents puts the events of a slot behind each other, in the order in which slots first occur.
func sortEvents(list []manifest.Event) {
	place := map[string]int{}
	for i := range list {
		if _, ok := place[list[i].Slot]; !ok {
			place[list[i].Slot] = i
		}
	}
	slices.SortStableFunc(list, func(x, y manifest.Event) int { return cmp.Compare(place[x.Slot], place[y.Slot]) })
}
