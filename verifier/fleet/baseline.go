package fleet

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// BaselineSpec says what a new baseline is made of.
type BaselineSpec struct {
	Device     string // full id
	Name       string // empty: made of model, firmware version and time
	ReportOnly []int  // PCRs whose change is reported and does not change the verdict; nil: 1 and 5
	// ReportOnlyFlash are names of flash regions whose change is reported and does not change the verdict.
	ReportOnlyFlash []string
}

// NewBaseline is a baseline that was made.
type NewBaseline struct {
	store.Reference
	// Notes say, for people, what the operator should know: flash regions that the device could not read and the baseline
	// therefore lacks, ranges that it leaves out and an older baseline covers.
	Notes []string
}

// defaultReportOnly are the PCRs that differ between healthy devices of one model: settings, serial numbers,
// partitions.
var defaultReportOnly = []int{1, 5}

// CreateBaseline makes reference values of what a device last attested, signs them and puts them in force. It is
// refused where the device's evidence contradicts itself, for then there is nothing to rely on.
func (f *Fleet) CreateBaseline(ctx context.Context, tenant string, spec BaselineSpec, actor string) (NewBaseline, error) {
	d, err := f.cfg.Store.Device(ctx, tenant, spec.Device)
	if err != nil {
		return NewBaseline{}, err
	}
	if spec.ReportOnly == nil {
		spec.ReportOnly = defaultReportOnly
	}
	b, notes, err := f.baseline(ctx, &d, spec)
	if err != nil {
		return NewBaseline{}, err
	}
	set, err := f.references.set(ctx, tenant)
	if err != nil {
		return NewBaseline{}, err
	}
	notes = append(notes, grown(&b, set.For(b.Vendor, b.Model))...)
	document, err := reference.Sign(b, f.cfg.Baseline.Key)
	if err != nil {
		return NewBaseline{}, err
	}
	r := store.Reference{Tenant: tenant, Name: b.Name, Kind: "baseline", Document: document, Created: b.Created}
	detail := fmt.Sprintf("%s for %s %s from device %s", b.Name, b.Vendor, b.Model, d.ID)
	if err := f.cfg.Store.AddReference(ctx, r, f.event(tenant, d.ID, "baseline-created", actor, detail)); err != nil {
		return NewBaseline{}, err
	}
	f.references.changed(tenant)
	if err := f.askModel(ctx, tenant, d.Model); err != nil {
		f.log.Warn("devices of the model were not all asked to attest; they will with their next report", "error", err)
	}
	return NewBaseline{Reference: r, Notes: notes}, nil
}

// baseline collects the values from the newest result and the content that it refers to, and verifies all of it again.
// notes are those of a NewBaseline.
func (f *Fleet) baseline(ctx context.Context, d *store.Device, spec BaselineSpec) (b reference.Baseline, notes []string, err error) {
	results, err := f.cfg.Store.Results(ctx, d.Tenant, d.ID, 0, 1)
	if err != nil {
		return b, nil, err
	}
	if len(results) == 0 {
		return b, nil, refuse("device %s has not attested yet", d.ID[:12])
	}
	newest := results[0].Result
	for _, finding := range newest.Findings {
		if contradicts(finding.Code) {
			return b, nil, refuse("the newest evidence of device %s contradicts itself: %s", d.ID[:12], finding.Line())
		}
	}
	b = reference.Baseline{
		Name: spec.Name, Tenant: d.Tenant, Vendor: d.Vendor, Model: d.Model, Firmware: d.Firmware, Device: d.ID,
		Created: f.cfg.Now().UTC(),
	}
	if b.Name == "" {
		b.Name = baselineName(d, &b)
	}
	if newest.Bank != "" {
		if err := f.measured(ctx, d, &newest, &b, spec.ReportOnly); err != nil {
			return b, nil, err
		}
	}
	notes, err = f.claimed(ctx, d, &newest, &b, spec.ReportOnlyFlash)
	if err == nil && newest.Bank == "" && len(b.Flash)+len(b.Inventory)+len(b.Tamper) == 0 {
		err = refuse("the device has no TPM, so it has no PCR values, and it tells of no flash memory, hardware or tamper line: "+
			"there is nothing to make reference values of%s", because(notes))
	}
	return b, notes, err
}

func because(notes []string) string {
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, "; ") + ")"
}

// measured adds what the TPM vouches for.
func (f *Fleet) measured(ctx context.Context, d *store.Device, newest *result.Result, b *reference.Baseline, reportOnly []int) error {
	bank, err := quotedBank(newest)
	if err != nil {
		return err
	}
	in, err := f.policies.of(ctx, d)
	if err != nil {
		return err
	}
	if !slices.Contains(in.Policy.Banks, bank.Algorithm()) {
		return refuse("device %s quotes the %s bank, which is no basis of trust: switch on the SHA-256 bank of its TPM; where it "+
			"has none and you accept the risk, list the bank in the policy's banks", d.ID[:12], bank.Algorithm())
	}
	var log, list []byte
	if newest.BootLog != "" {
		if log, err = f.contentHex(ctx, newest.BootLog); err != nil {
			return fmt.Errorf("boot log: %w", err)
		}
	}
	if newest.IMAEntries > 0 {
		if list, err = f.imaList(ctx, d, newest); err != nil {
			return err
		}
	}
	return appraise.ReferenceValues(b, bank, log, list, reportOnly)
}

// claimed adds what the device said of itself in the evidence of its newest result.
func (f *Fleet) claimed(
	ctx context.Context, d *store.Device, newest *result.Result, b *reference.Baseline, reportOnly []string,
) (notes []string, err error) {
	message, err := f.cfg.Store.Evidence(ctx, d.Tenant, d.ID, newest.Evidence)
	if err != nil {
		return nil, fmt.Errorf("evidence %s: %w", newest.Evidence, err)
	}
	open, err := appraise.Open(message, nil)
	if err != nil {
		return nil, err
	}
	in, err := f.policies.of(ctx, d)
	if err != nil {
		return nil, err
	}
	var flash, platform []byte
	if s := open.Claims.Flash; s != nil && s.Regions.Content != nil && in.Policy.Flash != appraise.Ignored {
		if flash, err = f.cfg.Store.Content(ctx, s.Regions.Content.Digest); err != nil {
			return nil, fmt.Errorf("flash: %w", err)
		}
	}
	if c := open.Claims.Platform.Content; c != nil {
		if platform, err = f.cfg.Store.Content(ctx, c.Digest); err != nil {
			return nil, fmt.Errorf("platform: %w", err)
		}
	}
	notes, err = appraise.ClaimedValues(b, open.Claims, flash, platform, reportOnly)
	if err != nil {
		return nil, refuse("device %s: %s", d.ID[:12], err)
	}
	return notes, nil
}

// grown says which flash regions leave more bytes out of their digest than another document of the model does: what
// hides something would begin so.
func grown(b *reference.Baseline, m *reference.Model) []string {
	bytesOf := func(list []reference.Range) (n uint64) {
		for _, r := range list {
			n += r.Length
		}
		return n
	}
	var notes []string
	for i := range b.Flash {
		r := &b.Flash[i]
		for _, c := range m.Documents() {
			if old := c.Region(r.Name); old != nil && bytesOf(r.Excluded) > bytesOf(old.Excluded) {
				notes = append(notes, clean(fmt.Sprintf("flash region %s: %d bytes are excluded, %d in %s %s: make sure that this is right",
					r.Name, bytesOf(r.Excluded), bytesOf(old.Excluded), c.Kind, c.Name), maxDetail))
				break
			}
		}
	}
	return notes
}

func baselineName(d *store.Device, b *reference.Baseline) string {
	clean := func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.':
			return r
		}
		return ' '
	}
	words := strings.Fields(strings.Map(clean, strings.ToLower(d.Model+" "+d.Firmware)))
	return strings.Join(append(words, b.Created.Format("20060102-150405.000")), "-")
}

// contradicts reports whether a finding says that evidence does not fit itself, as opposed to not fitting references.
func contradicts(code string) bool {
	switch code {
	case "boot-log-mismatch", "boot-log-rule", "boot-log-malformed", "pcr-unlogged", "ima-mismatch", "ima-boot-aggregate",
		"tpm-reset", "reset-count", "clock-back", "kernel-replaced", "bank-downgrade", "flash-malformed", "platform-malformed":
		return true
	}
	return false
}

func quotedBank(r *result.Result) (*pcr.Bank, error) {
	alg, err := pcr.ParseAlgorithm(r.Bank)
	if err != nil {
		return nil, err
	}
	bank := pcr.NewBank(alg)
	for name, value := range r.PCRs {
		var i int
		if _, err := fmt.Sscanf(name, "%d", &i); err != nil {
			return nil, fmt.Errorf("stored result: PCR %q: %w", name, err)
		}
		v, err := hex.DecodeString(value)
		if err != nil {
			return nil, fmt.Errorf("stored result: PCR %d: %w", i, err)
		}
		if err := bank.Set(i, v); err != nil {
			return nil, fmt.Errorf("stored result: %w", err)
		}
	}
	return bank, nil
}

func (f *Fleet) contentHex(ctx context.Context, digest string) ([]byte, error) {
	var d [32]byte
	if n, err := hex.Decode(d[:], []byte(digest)); err != nil || n != len(d) {
		return nil, fmt.Errorf("%q is not a digest", digest)
	}
	return f.cfg.Store.Content(ctx, d)
}

// imaList returns the first newest.IMAEntries entries of a boot's list. It came in segments, which are put together
// backwards from the newest.
func (f *Fleet) imaList(ctx context.Context, d *store.Device, newest *result.Result) ([]byte, error) {
	end := newest.IMAEntries
	var segments [][]byte
	for before := int64(0); end > 0; {
		page, err := f.cfg.Store.Results(ctx, d.Tenant, d.ID, before, 100)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return nil, refuse("parts of the IMA list of device %s are no longer stored: reboot it and try again", d.ID[:12])
		}
		for _, r := range page {
			before = r.Seq
			if r.Result.BootID != newest.BootID || r.Result.IMAEntries != end || end == 0 {
				continue
			}
			segment, from, err := f.segment(ctx, d, r.Result.Evidence, end)
			if err != nil {
				return nil, err
			}
			if segment != nil {
				segments, end = append(segments, segment), from
			}
		}
	}
	slices.Reverse(segments)
	return bytes.Join(segments, nil), nil
}

// segment returns the entries from..end that one piece of evidence brought, nil if it brought none.
func (f *Fleet) segment(ctx context.Context, d *store.Device, digest string, end uint64) ([]byte, uint64, error) {
	message, err := f.cfg.Store.Evidence(ctx, d.Tenant, d.ID, digest)
	if err != nil {
		return nil, 0, fmt.Errorf("evidence %s: %w", digest, err)
	}
	claimed, err := appraise.Open(message, nil)
	if err != nil {
		return nil, 0, err
	}
	s := claimed.Evidence.IMA
	if s == nil || s.Part.Size == 0 || s.From >= end {
		return nil, 0, nil
	}
	list, err := f.cfg.Store.Content(ctx, s.Part.Digest)
	if err != nil {
		return nil, 0, fmt.Errorf("IMA list: %w", err)
	}
	size, err := ima.Skip(list, int(end-s.From))
	if err != nil {
		return nil, 0, errors.Join(errors.New("stored IMA list does not have the entries that were appraised"), err)
	}
	return list[:size], s.From, nil
}
