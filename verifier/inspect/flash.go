package inspect

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/manifest"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// Flash returns a map of the flash memory as the device read it, with what the appraisal concluded of each region.
func Flash(e *Evidence, b Basis) v1.Flash {
	r := e.Result
	out := v1.Flash{Result: e.Seq, Age: int64(r.FlashAge), Chips: []v1.Chip{}}
	if len(r.Regions) == 0 {
		out.None = noFlash(e)
		return out
	}
	view := b.view(r)
	documents := named(view, r.References)
	for i := range r.Regions {
		region := &r.Regions[i]
		chip := chipOf(&out, region.Source)
		chip.Regions = append(chip.Regions, chipRange(e, view, documents, region))
		chip.Size = max(chip.Size, region.Offset+region.Length)
	}
	for i := range out.Chips {
		slices.SortStableFunc(out.Chips[i].Regions, func(a, b v1.ChipRange) int {
			return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(b.Length, a.Length))
		})
	}
	slices.SortStableFunc(out.Chips, func(a, b v1.Chip) int { // what the device does not speak of comes last
		return cmp.Or(cmp.Compare(btoi(a.Source == ""), btoi(b.Source == "")), strings.Compare(a.Source, b.Source))
	})
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// noFlash says why there is no map.
func noFlash(e *Evidence) string {
	switch s := e.Claims.Flash; {
	case s == nil:
		return "the device reads no flash memory"
	case s.Regions.Unavailable != nil:
		return appraise.Printable(s.Regions.Unavailable.Error())
	}
	for _, f := range e.Result.Findings {
		if f.Code == "flash-malformed" {
			return f.Line()
		}
	}
	return "the policy does not look at flash memory"
}

func chipOf(out *v1.Flash, source string) *v1.Chip {
	i := slices.IndexFunc(out.Chips, func(c v1.Chip) bool { return c.Source == source })
	if i < 0 {
		i = len(out.Chips)
		out.Chips = append(out.Chips, v1.Chip{Source: source})
	}
	return &out.Chips[i]
}

// named returns the documents of a model that have flash regions, those that a result used first.
func named(view *reference.View, names []string) []*reference.Compiled {
	var out []*reference.Compiled
	for _, c := range append(slices.Clone(view.Alternatives()), view.Others()...) {
		if c.HasFlash() {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b *reference.Compiled) int {
		return cmp.Compare(btoi(!slices.Contains(names, a.Name)), btoi(!slices.Contains(names, b.Name)))
	})
	return out
}

func chipRange(e *Evidence, view *reference.View, documents []*reference.Compiled, r *result.Region) v1.ChipRange {
	out := v1.ChipRange{
		Name: r.Name, Offset: r.Offset, Length: r.Length, Digest: r.Digest, Why: r.Reason, Standing: standingOf[r.Status],
	}
	var ref *reference.Region
	for _, c := range documents {
		if ref = c.Region(r.Name); ref != nil {
			out.Reference = c.Name
			break
		}
	}
	if ref != nil && r.Status != result.RegionSame {
		out.Expected = hex.EncodeToString(ref.Digest)
	}
	switch r.Status {
	case result.RegionReported:
		out.Why = "it differs, and the reference says only to report it"
	case result.RegionMissing:
		out.Why = "the device does not speak of it"
	}
	if digest, err := hex.DecodeString(r.Digest); err == nil && len(digest) > 0 {
		if advisory, _, denied := view.Denied(manifest.DeniedRegion, digest); denied {
			out.Standing, out.Why = v1.Denied, "denied by "+appraise.Printable(advisory)
		}
	}
	out.Excluded = excluded(e, r, ref)
	return out
}

// standingOf tells a region's status as a standing.
var standingOf = map[result.RegionStatus]v1.Standing{
	result.RegionSame:        v1.Matched,
	result.RegionChanged:     v1.Changed,
	result.RegionReported:    v1.Changed,
	result.RegionUnknown:     v1.Uncovered,
	result.RegionUnavailable: v1.Unreadable,
	result.RegionMissing:     v1.Missing,
}

// excluded returns the ranges that a region's digest leaves out, all of them where the report is stored, and why.
func excluded(e *Evidence, r *result.Region, ref *reference.Region) []v1.ChipSpan {
	var out []v1.ChipSpan
	for _, s := range r.Excluded {
		out = append(out, v1.ChipSpan{Offset: s.Offset, Length: s.Length})
	}
	if e.Flash != nil {
		for i := range e.Flash.Regions {
			if f := &e.Flash.Regions[i]; appraise.Printable(f.Name) == r.Name {
				out = nil
				for _, s := range f.Excluded {
					out = append(out, v1.ChipSpan{Offset: s.Offset, Length: s.Length})
				}
				for _, s := range f.Bad {
					out = append(out, v1.ChipSpan{Offset: s.Offset, Length: s.Length, Why: "bad block"})
				}
			}
		}
	}
	if ref == nil {
		return out
	}
	for i := range out {
		for _, x := range ref.Excluded {
			if out[i].Why == "" && out[i].Offset >= x.Offset && out[i].Offset+out[i].Length <= x.Offset+x.Length {
				out[i].Why = appraise.Printable(noteOr(x.Reason, "left out by the signed reference"))
			}
		}
	}
	return out
}
