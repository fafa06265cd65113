package appraise

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

const flashMemory = "flash memory"

// flash judges what the device reads of its own flash memory. Where neither reference values nor the policy speak of
// it, what is missing is noted and does not weigh: most machines cannot read their flash.
func (ap *appraisal) flash() {
	p, status := ap.in.Policy, ap.evidence.Claims.Flash
	if p.Flash == Ignored {
		return
	}
	wanted := p.Flash == Required || ap.model.HasFlash() || len(p.RequiredRegions) > 0
	if status == nil {
		ap.next.Seen = ap.in.Record.Seen
		if wanted {
			f := finding("flash-missing", flashMemory, "what the device reads of it", "nothing")
			if !ap.model.HasFlash() {
				f.Meaning = "the policy requires it, but the device does not speak of it"
			}
			ap.found = append(ap.found, f)
		}
		return
	}
	if un := status.Regions.Unavailable; un != nil {
		ap.next.Seen = ap.in.Record.Seen
		f := finding("flash-unavailable", flashMemory, "", un.Error())
		if !wanted {
			f.Severity = result.Info
		}
		ap.found = append(ap.found, f)
		return
	}
	ap.strength.Flash = ap.asserted()
	v := ap.part(result.Flash, *status.Regions.Content, ap.judgeFlash)
	if v == nil {
		return
	}
	ap.take(result.Flash, v)
	ap.regions = v.regions
	ap.changes(v)
	ap.peers(v)
	if age := time.Duration(status.Age) * time.Second; wanted && v.measured && age > p.FlashMaxAge {
		ap.find("flash-old", flashMemory, "digests of at most "+p.FlashMaxAge.String(), "older ones") // the age itself is in the result
	}
}

// judgeFlash compares the regions with the reference values that they fit best.
func (ap *appraisal) judgeFlash(raw []byte) *partVerdict {
	var m proto.Flash
	if err := proto.Decode(raw, &m); err != nil {
		v := &partVerdict{}
		v.find("flash-malformed", flashMemory, "", err.Error())
		return v
	}
	v := ap.fitting(result.Flash, (*reference.Compiled).HasFlash, func(c *reference.Compiled) *partVerdict {
		return compareFlash(c, &m, ap.in.Policy)
	})
	if v == nil {
		v = uncovered(&m, ap.in.Policy)
	}
	v.demand(&m, ap.in.Policy)
	if ap.model.HasDenied() {
		for i := range m.Regions {
			if f, ok := denial(ap.model, manifest.DeniedRegion, result.Flash, regionName(&m.Regions[i]), m.Regions[i].Digest); ok {
				v.findings = append(v.findings, f)
			}
		}
	}
	return v
}

// demand tells of regions that the policy requires, and that no reference covers so that it weighs or that the device
// does not speak of. What compareFlash has told as a warning is not told again.
func (v *partVerdict) demand(m *proto.Flash, p *Policy) {
	for _, name := range p.RequiredRegions {
		var ref *reference.Region
		if v.reference != nil {
			ref = v.reference.Region(name)
		}
		i := slices.IndexFunc(m.Regions, func(r proto.FlashRegion) bool { return r.Name == name })
		switch weighs := ref != nil && !ref.ReportOnly; {
		case weighs || v.reference != nil && ref == nil && i >= 0 && m.Regions[i].Unavailable == nil:
		case i < 0:
			f := finding("flash-missing", "flash region "+name, "", "")
			f.Meaning = "the policy requires it, but the device does not speak of it"
			v.findings = append(v.findings, f)
		case m.Regions[i].Unavailable != nil:
			v.graded(result.Warn, "flash-unavailable", regionName(&m.Regions[i]), "", m.Regions[i].Unavailable.Error())
		case ref != nil:
			v.graded(result.Warn, "flash-unknown", regionName(&m.Regions[i]), "reference values that do not only report it",
				hex.EncodeToString(m.Regions[i].Digest))
		default:
			v.graded(result.Warn, "flash-unknown", regionName(&m.Regions[i]), "", hex.EncodeToString(m.Regions[i].Digest))
		}
	}
}

// uncovered judges regions of a model without flash references: one finding stands for all of a kind.
func uncovered(m *proto.Flash, p *Policy) *partVerdict {
	v := &partVerdict{}
	severity := result.Info
	if p.Flash == Required {
		severity = result.Warn
	}
	var unknown, unread []string
	digest, reason := "", ""
	for i := range m.Regions {
		r := &m.Regions[i]
		if r.Unavailable != nil {
			unread, reason = append(unread, r.Name), r.Unavailable.Error()
			v.show(r, result.RegionUnavailable)
			continue
		}
		unknown, digest = append(unknown, r.Name), hex.EncodeToString(r.Digest)
		v.leave(r)
	}
	if len(unknown) > 1 {
		digest = ""
	}
	if len(unread) > 1 {
		reason += " (the last of them)"
	}
	if len(unknown) > 0 {
		v.graded(severity, "flash-unknown", regionNames(unknown), "", digest)
	}
	if len(unread) > 0 {
		v.graded(severity, "flash-unavailable", regionNames(unread), "", reason)
	}
	return v
}

// compareFlash compares regions with one document.
func compareFlash(c *reference.Compiled, m *proto.Flash, p *Policy) *partVerdict {
	v := &partVerdict{reference: c}
	reported := make(map[string]bool, len(m.Regions))
	for i := range m.Regions {
		r := &m.Regions[i]
		reported[r.Name] = true
		switch ref := c.Region(r.Name); {
		case ref == nil && r.Unavailable == nil:
			severity := result.Warn
			if c.Kind == reference.KindManifest && p.Flash != Required && !slices.Contains(p.RequiredRegions, r.Name) {
				// A vendor speaks of what it ships only.
				severity = result.Info
			}
			v.graded(severity, "flash-unknown", regionName(r), "", hex.EncodeToString(r.Digest))
			v.leave(r)
		case r.Unavailable == nil:
			v.compared = true
			v.measured = true
			v.show(r, v.compare(r, ref))
			if g, grew := c.Grown(r.Name); grew {
				v.find("excluded-grew", regionName(r), rangesText(spans(g.Was))+", as in "+g.Before, rangesText(spans(g.Is))+", in "+c.Name)
			}
		default:
			severity := result.Warn
			if p.Flash != Required && (ref == nil || ref.ReportOnly) {
				severity = result.Info
			}
			v.graded(severity, "flash-unavailable", regionName(r), "", r.Unavailable.Error())
			v.show(r, result.RegionUnavailable)
		}
	}
	for i := range c.Regions() {
		ref := &c.Regions()[i]
		if reported[ref.Name] {
			continue
		}
		severity := result.Warn
		if ref.ReportOnly {
			severity = result.Info
		}
		v.graded(severity, "flash-missing", "flash region "+ref.Name, hex.EncodeToString(ref.Digest), "")
		v.shown(result.Region{Name: printable(ref.Name), Offset: ref.Offset, Length: ref.Length, Status: result.RegionMissing})
	}
	return v
}

// compare compares a region that was read with its reference: place, excluded ranges, digest. Where the first two
// differ so that the digests cannot be equal, they are not compared: the finding names the cause.
func (v *partVerdict) compare(r *proto.FlashRegion, ref *reference.Region) result.RegionStatus {
	before := len(v.findings)
	differ := func(name, component, expected, observed string) {
		if ref.ReportOnly {
			name = "flash-difference"
		}
		v.find(name, component, expected, observed)
	}
	name, same := regionName(r), bytes.Equal(r.Digest, ref.Digest)
	if want, got := placeWanted(r, ref), placeOf(r, ref); want != got {
		differ("flash-geometry", name, want, got)
	}
	excess := outside(r.Excluded, ref.Excluded)
	if same {
		excess = append(excess, outside(r.Bad, ref.Bad)...) // a bad block that the reference does not have and that changes nothing
	}
	switch lacks := covered(r.Excluded) < covered(spans(ref.Excluded)); {
	case len(excess) > 0:
		differ("flash-excluded", name, rangesText(spans(ref.Excluded)), rangesText(excess))
	case same || r.Length != ref.Length:
	case lacks:
		differ("flash-geometry", name+", excluded ranges", rangesText(spans(ref.Excluded)), rangesText(r.Excluded))
	default:
		differ("flash-changed", name, hex.EncodeToString(ref.Digest), hex.EncodeToString(r.Digest))
	}
	switch {
	case len(v.findings) == before:
		return result.RegionSame
	case ref.ReportOnly:
		return result.RegionReported
	}
	return result.RegionChanged
}

// leave notes a region that no reference covers.
func (v *partVerdict) leave(r *proto.FlashRegion) {
	v.open = append(v.open, seenRegion{Name: r.Name, Digest: r.Digest})
	v.measured = true
	v.show(r, result.RegionUnknown)
}

func (v *partVerdict) show(r *proto.FlashRegion, status result.RegionStatus) {
	shown := result.Region{
		Name: printable(r.Name), Source: printable(r.Source), Offset: r.Offset, Length: r.Length,
		Digest: hex.EncodeToString(r.Digest), Left: covered(r.Excluded) + covered(r.Bad), Status: status,
	}
	for i, e := range append(r.Excluded[:len(r.Excluded):len(r.Excluded)], r.Bad...) {
		if i == result.MaxSpans {
			break
		}
		shown.Excluded = append(shown.Excluded, result.Span{Offset: e.Offset, Length: e.Length})
	}
	if r.Unavailable != nil {
		shown.Reason = printable(r.Unavailable.Error())
	}
	v.shown(shown)
}

func (v *partVerdict) shown(r result.Region) {
	if len(v.regions) < result.MaxRegions {
		v.regions = append(v.regions, r)
	}
}

// regionName names a region for people, with what its digest does not speak of by itself.
func regionName(r *proto.FlashRegion) string {
	if n := len(r.Bad); n > 0 {
		return fmt.Sprintf("flash region %s (without %d bad blocks)", r.Name, n)
	}
	return "flash region " + r.Name
}

// maxNames is how many regions one finding names.
const maxNames = 6

func regionNames(names []string) string {
	switch n := len(names); {
	case n == 1:
		return "flash region " + names[0]
	case n > maxNames:
		return fmt.Sprintf("flash regions %s and %d more", strings.Join(names[:maxNames], ", "), n-maxNames)
	}
	return "flash regions " + strings.Join(names, ", ")
}
