package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/store"
)

// OutlierSpec says where to look.
type OutlierSpec struct {
	Vendor, Model string // empty: all
}

// Outliers are the devices that differ from others of their vendor, model and firmware version, whatever references
// say.
type Outliers struct {
	Groups  []OutlierGroup // in ascending vendor, model and version
	Devices int            // looked at
}

// OutlierGroup is the devices of one vendor, model and firmware version.
type OutlierGroup struct {
	Vendor, Model, Firmware string

	Devices  int      // with evidence
	Notes    []string // what could not be compared, for people
	Outliers []Outlier
	Left     int // outliers that are not in the list, which has at most maxListed
}

// Outlier is a component of which few devices have another measurement than most.
type Outlier struct {
	Component string          // "PCR 4, boot application", "flash region bios", "file /usr/bin/x"
	Expected  string          // what most have, hexadecimal; empty: most don't have the component
	Observed  string          // what these have; empty: they lack the component
	Most, Of  int             // devices that have Expected, of those that were compared
	Devices   []OutlierDevice // that have Observed, in ascending id, at most maxOutlierDevices
	Count     int             // how many have it
	Covered   bool            // a reference in force knows Observed
	Weak      bool            // the group is so small that the others may as well be the odd ones
	Meaning   string          // why it is an outlier, in words
}

// OutlierDevice names a device.
type OutlierDevice struct{ ID, Label string }

// StartOutliers begins a search and returns the id under which OutliersState knows it.
func (f *Fleet) StartOutliers(_ context.Context, tenant string, spec OutlierSpec) (string, error) {
	return f.jobs.start(tenant, "outliers", f.cfg.Now(), func(ctx context.Context, report func(Progress)) (any, error) {
		return f.outliers(ctx, tenant, spec, report)
	})
}

// OutliersState returns how far a search is, and once it is over what it found.
func (f *Fleet) OutliersState(tenant, id string) (found Outliers, p Progress, over bool, err error) {
	one, err := f.jobs.get(tenant, "outliers", id)
	if err != nil {
		return Outliers{}, Progress{}, false, err
	}
	return jobState[Outliers](one)
}

// Outliers does the same at once.
func (f *Fleet) Outliers(ctx context.Context, tenant string, spec OutlierSpec) (Outliers, error) {
	return f.outliers(ctx, tenant, spec, func(Progress) {})
}

func (f *Fleet) outliers(ctx context.Context, tenant string, spec OutlierSpec, report func(Progress)) (Outliers, error) {
	total, err := f.countDevices(ctx, tenant, spec.Vendor, spec.Model)
	if err != nil {
		return Outliers{}, err
	}
	set, err := f.references.set(ctx, tenant)
	if err != nil {
		return Outliers{}, err
	}
	groups := make(map[string]*census)
	var out Outliers
	done := 0
	err = f.eachDevice(ctx, tenant, spec.Vendor, spec.Model, func(d *store.Device) error {
		if done++; done%16 == 0 {
			report(Progress{done, max(total, done)})
		}
		key := groupKey(d)
		g := groups[key]
		if g == nil {
			g = newCensus(d)
		}
		counted, err := f.count(ctx, g, d)
		if err == nil && counted {
			groups[key] = g
			out.Devices++
		}
		return err
	})
	if err != nil {
		return Outliers{}, err
	}
	report(Progress{done, max(total, done)})
	if err := f.lacking(ctx, tenant, spec, groups); err != nil {
		return Outliers{}, err
	}
	for _, g := range groups {
		out.Groups = append(out.Groups, g.judge(func(digest []byte) bool { return len(set.Knows(digest)) > 0 }))
	}
	slices.SortFunc(out.Groups, func(a, b OutlierGroup) int {
		return cmp.Or(strings.Compare(a.Vendor, b.Vendor), strings.Compare(a.Model, b.Model), strings.Compare(a.Firmware, b.Firmware))
	})
	return out, nil
}

func groupKey(d *store.Device) string {
	return fold(d.Vendor) + "\x00" + fold(d.Model) + "\x00" + strings.TrimSpace(d.Firmware)
}

// lacking finds the devices that lack what nearly all others of their group have. It looks at them once more, for who
// has something common was not remembered.
func (f *Fleet) lacking(ctx context.Context, tenant string, spec OutlierSpec, groups map[string]*census) error {
	some := false
	for _, g := range groups {
		some = g.wanted() || some
	}
	if !some {
		return nil
	}
	return f.eachDevice(ctx, tenant, spec.Vendor, spec.Model, func(d *store.Device) error {
		g := groups[groupKey(d)]
		if g == nil || len(g.missing) == 0 {
			return nil
		}
		_, err := f.look(ctx, g, d, func(kind string, found map[string]string) {
			for name, h := range g.missing {
				if _, ok := found[name]; !ok && g.components[name].kind == kind {
					h.add(OutlierDevice{ID: d.ID, Label: d.Label})
				}
			}
		})
		return err
	})
}

// wanted notes the components that few devices lack, and reports whether there are any. Files are not among them: which
// files run is a matter of use.
func (g *census) wanted() bool {
	g.missing = make(map[string]*holders)
	for name, c := range g.components {
		total := g.kinds[c.kind]
		if lack := total - c.have; c.kind != store.SeenFiles && total >= smallestGroup && lack > 0 && lack <= few(total) {
			g.missing[name] = &holders{}
		}
	}
	return len(g.missing) > 0
}

// count adds a device, false if there is no evidence of it.
func (f *Fleet) count(ctx context.Context, g *census, d *store.Device) (bool, error) {
	who := OutlierDevice{ID: d.ID, Label: d.Label}
	counted, err := f.look(ctx, g, d, func(kind string, found map[string]string) { g.add(who, kind, found) })
	if !counted || err != nil {
		return false, err
	}
	g.group.Devices++
	return true, f.countFiles(ctx, g, d, who)
}

// look reads what a device measured besides files, by its newest evidence; false if there is none.
func (f *Fleet) look(ctx context.Context, g *census, d *store.Device, add func(kind string, found map[string]string)) (bool, error) {
	results, err := f.cfg.Store.Results(ctx, d.Tenant, d.ID, 0, 1)
	if err != nil || len(results) == 0 {
		return false, err
	}
	r := &results[0].Result
	message, err := f.cfg.Store.Evidence(ctx, d.Tenant, d.ID, r.Evidence)
	if err != nil {
		return false, fmt.Errorf("evidence %s: %w", r.Evidence, err)
	}
	open, err := appraise.Open(message, nil)
	if err != nil {
		return false, fmt.Errorf("evidence %s: %w", r.Evidence, err)
	}
	bank, _ := pcr.ParseAlgorithm(r.Bank) // none without a TPM
	logged := false
	if c := open.Claims.BootLog.Content; c != nil && bank.Trusted() {
		found, err := f.parsed(ctx, g, c.Digest, func(raw []byte) map[string]string { return bootComponents(raw, bank) })
		if err != nil {
			return false, err
		}
		if logged = len(found) > 0; logged {
			add(store.SeenBoot, found)
		}
	}
	if !logged && bank.Trusted() {
		add(store.SeenPCRs, pcrComponents(r.PCRs))
	}
	if s := open.Claims.Flash; s != nil && s.Regions.Content != nil {
		found, err := f.parsed(ctx, g, s.Regions.Content.Digest, flashComponents)
		if err != nil {
			return false, err
		}
		add(store.SeenFlash, found)
	}
	return true, nil
}

// parsed returns the components in a content, which most devices of a group share.
func (f *Fleet) parsed(ctx context.Context, g *census, digest proto.Digest, parse func([]byte) map[string]string) (map[string]string, error) {
	if found, ok := g.parsed[digest]; ok {
		return found, nil
	}
	raw, err := f.cfg.Store.Content(ctx, digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := parse(raw)
	if len(g.parsed) < maxParsed {
		g.parsed[digest] = found
	}
	return found, nil
}

// countFiles adds the files that a device runs since its boot.
func (f *Fleet) countFiles(ctx context.Context, g *census, d *store.Device, who OutlierDevice) error {
	now, err := f.cfg.Store.SightingsOf(ctx, d.Tenant, d.ID)
	if err != nil {
		return err
	}
	files := make(map[string]string)
	for _, s := range now {
		if s.Kind != store.SeenFiles {
			continue
		}
		raw, err := f.cfg.Store.Content(ctx, s.Content)
		if err != nil {
			return fmt.Errorf("IMA list: %w", err)
		}
		merge(files, fileComponents(raw))
	}
	if len(files) > 0 {
		g.add(who, store.SeenFiles, files)
	}
	return nil
}
