package reference

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/probity-attest/probity/firmware/pcr"
)

func (b *Baseline) validate() error {
	if b.Name == "" {
		return errors.New("no name")
	}
	if err := b.validateMeasured(); err != nil {
		return err
	}
	return errors.Join(validateRegions(b.Flash), validateInventory(b.Inventory), validateTamper(b.Tamper))
}

// validateMeasured checks what a TPM vouches for. SHA-1 values may be kept: whether they count is for a policy to say.
func (b *Baseline) validateMeasured() error {
	alg := pcr.Algorithm(b.Bank)
	if b.Bank == 0 {
		if len(b.PCRs) > 0 || len(b.Files) > 0 || b.Secure != nil {
			return errors.New("PCRs, files or Secure Boot of a device without a TPM")
		}
		if len(b.Flash) == 0 && len(b.Inventory) == 0 && len(b.Tamper) == 0 {
			return errors.New("no PCRs, and neither flash regions nor hardware nor tamper lines")
		}
		return nil
	}
	if !alg.Trusted() && alg != pcr.SHA1 {
		return fmt.Errorf("bank %s carries no trust: want sha256 or sha384", alg)
	}
	if len(b.PCRs) == 0 {
		return errors.New("no PCRs")
	}
	if len(b.Files) > maxFiles {
		return fmt.Errorf("%d files, at most %d allowed", len(b.Files), maxFiles)
	}
	for _, f := range b.Files {
		if len(f.Digest) == 0 || len(f.Digest) > maxDigest {
			return fmt.Errorf("file %q: digest of %d bytes, want 1 to %d", f.Path, len(f.Digest), maxDigest)
		}
	}
	var seen pcr.Selection
	for _, r := range b.PCRs {
		if r.Index < 0 || r.Index >= pcr.Count || seen.Has(r.Index) {
			return fmt.Errorf("PCR %d does not exist or is there twice", r.Index)
		}
		seen |= 1 << r.Index
		if len(r.Value) != alg.Size() {
			return fmt.Errorf("PCR %d: value of %d bytes, want %d", r.Index, len(r.Value), alg.Size())
		}
		if len(r.Events) > maxEvents {
			return fmt.Errorf("PCR %d: %d events, at most %d allowed", r.Index, len(r.Events), maxEvents)
		}
		for _, e := range r.Events {
			if len(e.Digest) != alg.Size() {
				return fmt.Errorf("PCR %d: event %q: digest of %d bytes, want %d", r.Index, e.Slot, len(e.Digest), alg.Size())
			}
		}
	}
	return nil
}

func validateRegions(list []Region) error {
	if len(list) > maxRegions {
		return fmt.Errorf("%d flash regions, at most %d allowed", len(list), maxRegions)
	}
	for i := range list {
		r := &list[i]
		if err := r.validate(); err != nil {
			return fmt.Errorf("flash region %q: %w", r.Name, err)
		}
		if i > 0 && list[i-1].Name >= r.Name {
			return fmt.Errorf("flash region %q: not in ascending order of name", r.Name)
		}
	}
	return nil
}

func (r *Region) validate() error {
	switch {
	case r.Name == "" || len(r.Name) > maxText || len(r.Chip) > maxText:
		return fmt.Errorf("name or chip: want 1 to %d bytes", maxText)
	case r.Source == "" || len(r.Source) > maxText || strings.Contains(r.Source, ":"):
		return fmt.Errorf("source %q: want the kind alone, such as mtd or spi", r.Source)
	case r.Length == 0 || r.Offset+r.Length < r.Offset:
		return fmt.Errorf("%d bytes at %d", r.Length, r.Offset)
	case len(r.Digest) != sha256.Size:
		return fmt.Errorf("digest of %d bytes, want %d", len(r.Digest), sha256.Size)
	}
	if err := validateRanges(r.Excluded, r.Length); err != nil {
		return fmt.Errorf("excluded: %w", err)
	}
	if err := validateRanges(r.Bad, r.Length); err != nil {
		return fmt.Errorf("bad blocks: %w", err)
	}
	return nil
}

func validateRanges(list []Range, length uint64) error {
	if len(list) > maxRanges {
		return fmt.Errorf("%d ranges, at most %d allowed", len(list), maxRanges)
	}
	var end uint64
	for i, r := range list {
		switch {
		case r.Length == 0 || r.Offset+r.Length < r.Offset || r.Offset+r.Length > length:
			return fmt.Errorf("range %d: %d bytes at %d are not in the region's %d", i, r.Length, r.Offset, length)
		case i > 0 && r.Offset <= end:
			return fmt.Errorf("range %d: at %d, touches the one before it", i, r.Offset)
		case len(r.Reason) > maxText:
			return fmt.Errorf("range %d: reason of %d bytes, at most %d allowed", i, len(r.Reason), maxText)
		}
		end = r.Offset + r.Length
	}
	return nil
}

func validateInventory(list []Device) error {
	if len(list) > maxDevices {
		return fmt.Errorf("%d pieces of hardware, at most %d allowed", len(list), maxDevices)
	}
	for i, d := range list {
		if d.Bus == "" || d.Address == "" || len(d.Bus) > maxText || len(d.Address) > maxText || len(d.Name) > maxText {
			return fmt.Errorf("hardware %d: bus, address or name: want at most %d bytes, and a bus and an address", i, maxText)
		}
		if i > 0 && cmp.Or(strings.Compare(list[i-1].Bus, d.Bus), strings.Compare(list[i-1].Address, d.Address)) >= 0 {
			return fmt.Errorf("hardware %s %s: not in ascending order of bus and address", d.Bus, d.Address)
		}
	}
	return nil
}

func validateTamper(list []string) error {
	if len(list) > maxTamper {
		return fmt.Errorf("%d tamper lines, at most %d allowed", len(list), maxTamper)
	}
	for i, name := range list {
		if name == "" || len(name) > maxText {
			return fmt.Errorf("tamper line %d: name of %d bytes, want 1 to %d", i, len(name), maxText)
		}
		if i > 0 && list[i-1] >= name {
			return fmt.Errorf("tamper line %q: not in ascending order", name)
		}
	}
	return nil
}
