package shipment

import (
	"context"
	"fmt"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
)

// noReason stands for the reason of an excluded range that the layout doesn't state: the manifest must have one.
const noReason = "not stated by the vendor"

// flash hashes the regions of the layout.
func (b *builder) flash(ctx context.Context) error {
	if b.in.Layout == nil {
		return nil
	}
	images, err := b.images()
	if err != nil {
		return err
	}
	for _, r := range b.in.Layout.Regions {
		image, ok := images[r.Source]
		if !ok {
			b.report.Regions = append(b.report.Regions, Region{Name: r.Name, Left: fmt.Sprintf("no image of %v was given", r.Source)})
			continue
		}
		if err := b.region(ctx, image, r); err != nil {
			return err
		}
	}
	if len(b.m.Regions) == 0 {
		return inputError("none of the layout's regions lies in an image that was given")
	}
	return nil
}

// images returns the images by their source in the layout.
func (b *builder) images() (map[flash.Source]Image, error) {
	known := map[flash.Source]bool{}
	for _, r := range b.in.Layout.Regions {
		known[r.Source] = true
	}
	out := map[flash.Source]Image{}
	for _, image := range b.in.Images {
		if image.Source == (flash.Source{}) {
			if len(known) != 1 || len(b.in.Images) != 1 {
				return nil, inputError("the layout has %d flash memories and %d images are given: say with each image which memory it is of",
					len(known), len(b.in.Images))
			}
			for s := range known {
				image.Source = s
			}
		}
		switch _, twice := out[image.Source]; {
		case !known[image.Source]:
			return nil, inputError("an image of %v is given, but the layout has no region of it", image.Source)
		case twice:
			return nil, inputError("two images of %v", image.Source)
		case image.Source.Pattern():
			return nil, inputError("an image of %v: it stands for several files", image.Source)
		}
		out[image.Source] = image
	}
	return out, nil
}

func (b *builder) region(ctx context.Context, image Image, r flash.Region) error {
	step := "flash region " + r.Name
	sum, err := flash.Hash(ctx, flash.NewImage(image.Content, image.Size), r, flash.HashOptions{
		Progress: func(done, total uint64) { b.progress(Progress{Step: step, Done: done, Total: total}) },
	})
	if err != nil {
		return fmt.Errorf("flash image: %w", err)
	}
	out := manifest.Region{
		Name: r.Name, Offset: r.Offset, Length: sum.Length,
		Digests: manifest.Digests{{Algorithm: pcr.SHA256, Value: sum.Digest[:]}},
	}
	report := Region{Name: r.Name, Length: sum.Length}
	for i, x := range r.Exclude {
		reason := noReason
		if i < len(r.Reasons) && r.Reasons[i] != "" {
			reason = r.Reasons[i]
		} else {
			report.Note = "excluded ranges without a reason in the layout"
		}
		out.Excluded = append(out.Excluded, manifest.Range{Offset: x.Offset, Length: x.Length, Reason: reason})
	}
	report.Excluded = out.ExcludedLength()
	if sum.Blank {
		report.Note = "every byte is the same: is this the image that is written?"
	}
	b.m.Regions = append(b.m.Regions, out)
	b.report.Regions = append(b.report.Regions, report)
	return nil
}
