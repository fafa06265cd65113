package appraise

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// appraisal is one run of Appraise.
type appraisal struct {
	in        Input
	evidence  *authentic
	next      Record
	found     []result.Finding
	missing   []proto.Digest
	refused   *Rejection // what the device says of its content is false
	described *proto.Platform
	booted    *bootVerdict
	covered   map[result.Submod]bool // which submodules there were references for
	basedOn   string                 // references and policy
	model     *reference.View        // what counts of the device's model; nil: nothing is known
	strength  result.Strengths
	parts     []*partVerdict // judged flash and inventory
	regions   []result.Region
}

// basis names the references and the policy of this appraisal.
func (ap *appraisal) basis(m *reference.View) string {
	if ap.basedOn == "" {
		ap.basedOn = basis(m, ap.in.Policy)
	}
	return ap.basedOn
}

func (ap *appraisal) find(name, component, expected, observed string) {
	ap.found = append(ap.found, finding(name, component, expected, observed))
}

// content returns bytes by digest, and notes them as missing where the verifier does not have them, or as false where the
// device gave them another size than they have.
func (ap *appraisal) content(c proto.Content) ([]byte, bool) {
	b, ok := ap.in.Content(c.Digest)
	switch {
	case !ok && slices.Contains(ap.missing, c.Digest):
	case !ok:
		ap.missing = append(ap.missing, c.Digest)
	case len(b) != int(c.Size):
		ap.refused = reject(proto.CodeMalformed, fmt.Errorf("content %s has %d bytes, not %d", c.Digest, len(b), c.Size))
	default:
		return b, true
	}
	return nil, false
}

// platform reads what the device says of itself; only a description that changed is read again.
func (ap *appraisal) platform() {
	r := &ap.in.Record
	ap.next.Vendor, ap.next.Model, ap.next.Platform = r.Vendor, r.Model, r.Platform
	item := ap.evidence.Claims.Platform.Content
	if item == nil || string(item.Digest[:]) == string(r.Platform) {
		return
	}
	raw, ok := ap.content(*item)
	if !ok {
		return
	}
	var p proto.Platform
	if err := proto.Decode(raw, &p); err != nil {
		ap.find("platform-malformed", "platform description", "", err.Error())
		return
	}
	p.Vendor, p.Model, p.FirmwareVersion = storable(p.Vendor), storable(p.Model), storable(p.FirmwareVersion)
	ap.described = &p
	ap.next.Platform = item.Digest[:]
	if r.NonceAt == 0 {
		ap.next.Vendor, ap.next.Model = p.Vendor, p.Model
	}
	if p.Vendor != ap.next.Vendor || p.Model != ap.next.Model {
		// The first description stays in force for choosing references; this one is looked at again next time.
		ap.next.Platform = nil
		ap.find("model-changed", "platform", r.Vendor+" "+r.Model, p.Vendor+" "+p.Model)
	}
}

// counters compares the TPM's clock and counters with the newest accepted quote (Part 1, section 36).
func (ap *appraisal) counters() {
	q, r := &ap.evidence.quote, &ap.in.Record
	ap.next.Clock, ap.next.Resets, ap.next.Restarts, ap.next.TPM = q.clock, q.resets, q.restarts, q.firmware
	if r.NonceAt == 0 {
		return
	}
	sameBoot := r.sameBoot(ap.evidence.Claims.BootID)
	ap.next.Swapped = r.Swapped && sameBoot
	counts := func(resets, restarts uint32) string { return fmt.Sprintf("%d resets, %d restarts", resets, restarts) }
	switch {
	case q.resets < r.Resets, q.resets == r.Resets && q.restarts < r.Restarts:
		ap.find("reset-count", "TPM reset and restart counters", "at least "+counts(r.Resets, r.Restarts), counts(q.resets, q.restarts))
	case q.resets > r.Resets && sameBoot:
		ap.next.Swapped = true
	case q.resets == r.Resets && q.restarts == r.Restarts && q.clock < r.Clock:
		// After a reset an unclean shutdown may move the clock back a little; within one it cannot.
		ap.find("clock-back", "TPM clock", fmt.Sprintf("at least %d ms", r.Clock), fmt.Sprintf("%d ms", q.clock))
	case q.resets == r.Resets && !sameBoot:
		ap.find("kernel-replaced", "kernel", "a TPM reset with every boot", counts(q.resets, q.restarts)+" in a new boot")
	}
	if ap.next.Swapped {
		ap.find("tpm-reset", "TPM reset counter", "no reset within one boot of the kernel", counts(q.resets, q.restarts))
	}
	if q.firmware != r.TPM {
		ap.find("tpm-firmware", "TPM firmware version", fmt.Sprintf("%#x", r.TPM), fmt.Sprintf("%#x", q.firmware))
	}
}

// bank judges the PCR bank. One that the policy builds no trust on explains what was booted; that a device which could
// do better does not is an attack.
func (ap *appraisal) bank() {
	r, p, quoted := &ap.in.Record, ap.in.Policy, ap.evidence.quote.bank
	if quoted.Trusted() {
		return
	}
	best := pcr.Algorithm(r.Strong)
	if was := pcr.Algorithm(r.Bank); was.Trusted() {
		best = was
	}
	ap.next.Strong = uint16(best)
	switch listed := p.accepts(quoted); {
	case best != 0 && p.prefers(best, quoted):
		ap.find("bank-downgrade", "PCR bank", best.String()+", as this device quoted before", quoted.String())
	case !listed && strongOnly(ap.model):
		ap.find("bank-downgrade", "PCR bank", "one that the model's reference values have", quoted.String())
	default:
		f := finding("bank-weak", "PCR bank", "one of "+fmt.Sprint(p.Banks), quoted.String())
		if listed {
			f.Severity = result.Info
		}
		ap.found = append(ap.found, f)
	}
}

// strongOnly reports whether there are PCR reference values of the model, and all of them are in banks that carry trust.
func strongOnly(m *reference.View) bool {
	strong := false
	for _, c := range m.Alternatives() {
		if c.Bank != 0 && !c.Bank.Trusted() {
			return false
		}
		strong = strong || c.PCRs() != 0 // a manifest has none but strong banks
	}
	return strong
}

// identity judges how well the device is known.
func (ap *appraisal) identity() {
	level := ap.in.Identity.Level
	if level == result.Software {
		ap.find("software-identity", "identity", "", "")
		if m := ap.model; !m.HasInventory() && !m.HasTamper() && (!m.HasFlash() || ap.in.Policy.Flash == Ignored) {
			f := finding("no-reference", strings.TrimSpace("model "+ap.next.Vendor+" "+ap.next.Model), "", "")
			f.Submod, f.Meaning = result.Flash, "has no reference values, so nothing of what the device says can be compared"
			ap.found = append(ap.found, f)
		}
		return
	}
	if levels[level] < levels[ap.in.Policy.MinLevel] {
		ap.find("identity-level", "identity", "at least "+string(ap.in.Policy.MinLevel), string(level))
	}
}

// conclude makes the result of all findings.
func (ap *appraisal) conclude() result.Result {
	in, ev := &ap.in, ap.evidence
	r := result.Result{
		Tenant: in.Tenant, Device: in.Device, Evidence: ev.Digest.String(),
		IssuedAt: in.Nonce.IssuedAt(), At: in.Now.UTC(), StaleAt: in.Now.Add(in.Policy.StaleAfter).UTC(),
		Level: in.Identity.Level, Policy: in.Policy.ID(), References: ap.references(), BootID: formatUUID(ev.Claims.BootID),
		Resets: ev.quote.resets, Restarts: ev.quote.restarts, IMAEntries: ap.next.IMA.Entries,
		Vendor: ap.next.Vendor, Model: ap.next.Model, Strength: ap.strength, Regions: ap.regions,
	}
	if f := ev.Claims.Flash; f != nil && ap.regions != nil {
		r.FlashAge = f.Age
	}
	if c := ev.Claims.BootLog.Content; c != nil {
		r.BootLog = c.Digest.String()
	}
	if ev.bank != nil {
		r.Bank, r.PCRs = ev.bank.Algorithm().String(), ap.values()
	}
	ap.rule(&r)
	sortFindings(ap.found)
	found := ap.found
	if len(found) > maxFindings {
		found = found[:maxFindings]
	}
	for i := range found {
		found[i].FirstSeen = in.Record.since(&ap.next, &found[i], in.Now)
		if found[i].Nearest == "" {
			found[i].Nearest = ap.nearest(&found[i])
		}
	}
	r.State, r.Submods, r.Findings = ap.state(), ap.vectors(), found
	return r
}

// values returns the quoted values in hexadecimal. Those of the boot are in the memo, for they seldom change.
func (ap *appraisal) values() map[string]string {
	if ap.booted == nil {
		return ap.evidence.bank.Strings()
	}
	out := maps.Clone(ap.booted.values())
	for _, i := range (ap.in.Policy.PCRs &^ ap.in.Policy.bootPCRs()).Indices() {
		out[strconv.Itoa(i)] = hex.EncodeToString(ap.evidence.bank.Value(i))
	}
	return out
}

// state is the worst of all findings. A device that nothing could be compared with is unsupported, not trusted.
func (ap *appraisal) state() result.State {
	worst := result.Info
	for _, f := range ap.found {
		if severities[f.Severity] > severities[worst] {
			worst = f.Severity
		}
	}
	switch {
	case worst == result.Critical:
		return result.Untrusted
	case !ap.covered[result.Boot] && ap.in.Identity.Level != result.Software:
		return result.Unsupported
	case worst == result.Warn, ap.in.Identity.Level == result.Software: // whatever the policy makes of the findings
		return result.Warning
	}
	return result.Trusted
}

// vectors returns the trustworthiness vector of each submodule: affirming where it was compared with references, worsened
// by every finding. Of the enclosure and the hardware there is one only where the device or its references speak of them.
func (ap *appraisal) vectors() map[result.Submod]result.Vector {
	identity := result.Vector{InstanceIdentity: int8(result.TierAffirming)}
	if ap.in.Identity.Level == result.Certified {
		identity.Hardware = int8(result.TierAffirming)
	}
	var boot, runtime, flash, platform result.Vector
	if ap.covered[result.Boot] {
		boot = result.Vector{Executables: int8(result.TierAffirming), Configuration: int8(result.TierAffirming), Hardware: int8(result.TierAffirming)}
	}
	if ap.covered[result.Runtime] {
		runtime = result.Vector{Executables: int8(result.TierAffirming)}
	}
	if ap.covered[result.Flash] {
		flash = result.Vector{Executables: int8(result.TierAffirming)}
	}
	if ap.covered[result.Platform] {
		platform = result.Vector{Hardware: int8(result.TierAffirming)}
	}
	for _, f := range ap.found {
		of, value := claim(&f)
		if of == nil {
			continue
		}
		v := &identity
		switch f.Submod {
		case result.Boot:
			v = &boot
		case result.Runtime:
			v = &runtime
		case result.Flash:
			v = &flash
		case result.Platform:
			v = &platform
		}
		claimed := of(v)
		*claimed = max(*claimed, value)
	}
	out := map[result.Submod]result.Vector{
		result.Identity: identity, result.Boot: boot, result.Runtime: runtime, result.Flash: flash,
	}
	if ap.strength.Platform != result.None || platform != (result.Vector{}) {
		out[result.Platform] = platform
	}
	return out
}

// references names the documents that the device was compared with.
func (ap *appraisal) references() []string {
	var names []string
	if ap.booted != nil && ap.booted.reference != "" {
		names = append(names, ap.booted.reference)
	}
	for _, v := range ap.parts {
		if v.reference != nil && !slices.Contains(names, v.reference.Name) {
			names = append(names, v.reference.Name)
		}
	}
	return names
}

// nearest names other reference values that know what was observed.
func (ap *appraisal) nearest(f *result.Finding) string {
	if f.Severity == result.Info || f.Observed == "" {
		return ""
	}
	digest, err := decodeHex(f.Observed)
	if err != nil {
		return ""
	}
	used := ap.references()
	for _, name := range ap.in.References.Knows(digest) {
		if !slices.Contains(used, name) {
			return name
		}
	}
	return ""
}

// componentNames are what PCRs stand for (TCG PC Client Platform Firmware Profile 1.06, section 3.3.4, and what boot
// loaders measure into those that it leaves to them).
var componentNames = [pcr.Count]string{
	0: "firmware", 1: "firmware configuration", 2: "option ROMs", 3: "option ROM configuration", 4: "boot loader",
	5: "boot loader configuration and partitions", 6: "platform manufacturer", 7: "Secure Boot policy",
	8: "boot loader commands", 9: "files read by the boot loader", 10: "IMA", 11: "unified kernel image",
	12: "kernel command line and credentials", 13: "system extensions", 14: "MOK list", 15: "system identity",
}

func pcrName(i int) string {
	if n := componentNames[i]; n != "" {
		return fmt.Sprintf("PCR %d (%s)", i, n)
	}
	return fmt.Sprintf("PCR %d", i)
}

func formatUUID(b []byte) string {
	if len(b) != 16 {
		return ""
	}
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// Due returns when the next report of a device with this policy should come: often enough that losing two in a row does
// not make it stale.
func (p *Policy) Due() time.Duration { return p.StaleAfter / 3 }
