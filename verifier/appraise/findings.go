package appraise

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/probity-attest/probity/verifier/result"
)

// maxFindings bounds what one result says; the most important come first.
const maxFindings = 32

// code describes one kind of finding: what it is about, how bad it is, what it does to the trustworthiness vector and
// what an operator should do.
type code struct {
	submod   result.Submod
	severity result.Severity
	claim    func(*result.Vector) *int8 // nil: none
	value    int8                       // AR4SI, section 2.3.4
	meaning  string
	action   string
}

func instance(v *result.Vector) *int8      { return &v.InstanceIdentity }
func configuration(v *result.Vector) *int8 { return &v.Configuration }
func executables(v *result.Vector) *int8   { return &v.Executables }
func hardware(v *result.Vector) *int8      { return &v.Hardware }

const (
	isolate   = "isolate the device, keep its evidence and compare the component with the vendor's image"
	baseline  = "if the change was planned, make a new baseline from a device that you trust"
	readAgain = "see the agent's log on the device for the reason"
	inspect   = "have somebody look at the device; if that was planned, restart the agent"
	reread    = "if the change was planned, make a new baseline; if this region always changes, make one that only reports it"
)

// codes of findings. Names are stable: alerts and policies refer to them.
var codes = map[string]code{
	"software-identity": {
		result.Identity, result.Warn, instance, 32,
		"the device has no TPM: its key is a file and everything it says is self-asserted", "treat its state as a hint; use a device with a TPM where it matters",
	},
	"identity-level": {
		result.Identity, result.Warn, instance, 32,
		"the identity is known less well than the policy asks for", "approve the device's EK, or add its TPM maker's root certificates",
	},
	"tpm-reset": {
		result.Identity, result.Critical, instance, 96,
		"the TPM was reset while the machine kept running, so its PCRs may have been replayed", isolate,
	},
	"reset-count": {
		result.Identity, result.Critical, instance, 96,
		"the TPM's counters went back: its state was rolled back or cloned", isolate,
	},
	"clock-back": {
		result.Identity, result.Critical, instance, 96,
		"the TPM's clock went back without a reset: its state was rolled back or cloned", isolate,
	},
	"kernel-replaced": {
		result.Identity, result.Warn, configuration, 32,
		"another kernel was started without a TPM reset (kexec), so PCRs still speak of the first one", "reboot the device, or allow kexec nowhere",
	},
	"tpm-firmware": {
		result.Identity, result.Info, nil, 0,
		"the TPM's own firmware changed", "check that a TPM update was planned",
	},
	"model-changed": {
		result.Identity, result.Warn, configuration, 32,
		"the device now says that it is another model", "check the device's hardware; remove and enrol it again if that is right",
	},

	"platform-malformed": {
		result.Identity, result.Warn, configuration, 32,
		"the device's description of itself cannot be read", "update the agent",
	},

	"bank-weak": {
		result.Boot, result.Warn, executables, 32,
		"the TPM quotes SHA-1 only, which is broken: its values explain what was booted and prove nothing",
		"switch on the SHA-256 bank in the firmware's setup or with tpm2_pcrallocate; where the TPM has none, replace it, or list sha1 in policy.banks",
	},
	"bank-downgrade": {
		result.Boot, result.Critical, executables, 99,
		"SHA-1 was quoted by a device that can do better: broken digests let another boot pass for this one", isolate,
	},
	"no-reference": {
		result.Boot, result.Warn, nil, 0,
		"has no reference values, so nothing can be said of what the device booted",
		"if you trust this device, make them: probity baseline create --device DEVICE",
	},
	"boot-log-unavailable": {
		result.Boot, result.Warn, configuration, 32,
		"there is no boot log, so PCR values cannot be explained", readAgain,
	},
	"boot-log-malformed": {
		result.Boot, result.Warn, configuration, 32,
		"the boot log is not a TCG event log", readAgain,
	},
	"boot-log-mismatch": {
		result.Boot, result.Critical, executables, 99,
		"the boot log does not lead to the value that the TPM signed: the log was altered or is incomplete", isolate,
	},
	"boot-log-rule": {
		result.Boot, result.Critical, executables, 99,
		"the boot log breaks a rule that every genuine one keeps", isolate,
	},
	"pcr-unlogged": {
		result.Boot, result.Critical, executables, 99,
		"the PCR holds a value that no event of the boot log explains", isolate,
	},
	"pcr-mismatch": {
		result.Boot, result.Critical, executables, 96,
		"the PCR value is not the reference value", isolate,
	},
	"boot-event-changed": {
		result.Boot, result.Critical, executables, 96,
		"was replaced: its measurement is not the reference value", isolate,
	},
	"boot-event-unknown": {
		result.Boot, result.Critical, executables, 96,
		"was measured, but the reference values do not know it", isolate,
	},
	"boot-event-missing": {
		result.Boot, result.Critical, executables, 96,
		"is in the reference values, but was not measured", isolate,
	},
	"boot-order": {
		result.Boot, result.Critical, configuration, 96,
		"the same events were measured in another order", isolate,
	},
	"boot-difference": {
		result.Boot, result.Info, nil, 0,
		"differs from the reference values in a PCR that is only reported", baseline,
	},
	"secure-boot-off": {
		result.Boot, result.Critical, configuration, 96,
		"Secure Boot was turned off", "turn Secure Boot on in the firmware's setup and find out who turned it off",
	},
	"secure-boot-unknown": {
		result.Boot, result.Warn, configuration, 32,
		"the boot log does not prove whether Secure Boot is on", readAgain,
	},

	"boot-event-uncovered": {
		result.Boot, result.Info, nil, 0,
		"the manifest knows only some of what is measured into this PCR, and does not name this", "ask the vendor for a manifest that covers it",
	},
	"pcr-uncovered": {
		result.Boot, result.Warn, executables, 32,
		"the reference values do not know everything that may be measured into it",
		"ask the vendor for a manifest that covers it; " + baseline,
	},
	"rollback": {
		result.Boot, result.Critical, executables, 96,
		"is old firmware that must not run any more: its security version number is below the minimum in force",
		"update the firmware and find out who put the old one back",
	},
	"release-expired": {
		result.Boot, result.Warn, executables, 32,
		"is what the device runs, but its time is over", "update the firmware, or extend the overlap",
	},
	"release-not-yet-valid": {
		result.Boot, result.Warn, executables, 32,
		"is what the device runs, but its time has not begun", "find out why the device was updated before",
	},
	"endorsers-missing": {
		result.Boot, result.Critical, executables, 96,
		"is what the device runs, but fewer than the policy asks for vouch for it", "have it examined and signed by those who are missing; until then take the device out of service",
	},
	"denied": {
		result.Boot, result.Critical, executables, 99,
		"is known to be bad", isolate,
	},

	"ima-unavailable": {
		result.Runtime, result.Warn, executables, 32,
		"there is no IMA list, so it is not known which files ran", readAgain,
	},
	"ima-unbound": {
		result.Runtime, result.Warn, executables, 32,
		"IMA started before the TPM's driver, so the TPM does not vouch for its list", "use a kernel with the TPM's driver built in",
	},
	"ima-mismatch": {
		result.Runtime, result.Critical, executables, 99,
		"no prefix of the IMA list leads to the value that the TPM signed: the list was altered", isolate,
	},
	"ima-boot-aggregate": {
		result.Runtime, result.Critical, executables, 99,
		"the IMA list's boot_aggregate does not fit the quoted PCRs: the list is of another boot", isolate,
	},
	"ima-violation": {
		result.Runtime, result.Warn, executables, 33,
		"files were changed while they were measured (IMA violations), so what ran is not known", "find the process that writes to the file while it is in use",
	},
	"ima-padded": {
		result.Runtime, result.Info, nil, 0,
		"the kernel extends this bank with padded SHA-1 digests only", "use a kernel of at least 5.8 with the bank's hash built in",
	},
	"file-changed": {
		result.Runtime, result.Critical, executables, 96,
		"the file's content is not the reference value", isolate,
	},
	"file-moved": {
		result.Runtime, result.Info, nil, 0,
		"a known file ran from another path", "check that a link or copy was planned",
	},
	"file-unknown": {
		result.Runtime, result.Warn, executables, 33,
		"the file is not in the reference values", "find out which package brought it; " + baseline,
	},

	"flash-changed": {
		result.Flash, result.Critical, executables, 96,
		"the flash memory's content is not the reference value", isolate,
	},
	"flash-geometry": {
		result.Flash, result.Critical, configuration, 96,
		"the region is not where or what the reference values say, so another one may be shown in its place", isolate,
	},
	"flash-excluded": {
		result.Flash, result.Critical, executables, 96,
		"bytes are left out of the digest that the reference values cover: something may be hidden there",
		"compare the agent's configuration with that of a device that you trust; " + isolate,
	},
	"flash-missing": {
		result.Flash, result.Warn, executables, 32,
		"is in the reference values, but the device does not speak of it", "configure the agent to read it",
	},
	"flash-unavailable": {
		result.Flash, result.Warn, executables, 32,
		"the device could not read it, so its content is not known", readAgain,
	},
	"flash-unknown": {
		result.Flash, result.Info, executables, 33,
		"no reference values cover it, so its content says nothing", baseline,
	},
	"flash-differs": {
		result.Flash, result.Info, executables, 33,
		"its content changed between two reports, and no reference values cover it", reread,
	},
	"flash-outlier": {
		result.Flash, result.Warn, executables, 33,
		"nearly all devices of this model and version have something else in it, and no reference values cover it",
		"have its raw bytes sent (probity device capture) and compare them with those of another device: this one may have been singled out",
	},
	"flash-difference": {
		result.Flash, result.Info, nil, 0,
		"differs from the reference values in a region that is only reported", baseline,
	},
	"excluded-grew": {
		result.Flash, result.Warn, executables, 32,
		"its manifest leaves more out of the digest than the one of the version before: something may be hidden there",
		"have the vendor explain what the added bytes are for",
	},
	"flash-old": {
		result.Flash, result.Warn, executables, 32,
		"the digests were made long ago: the content may have changed since", "see the agent's log on the device; have it read its flash memory more often",
	},
	"flash-malformed": {
		result.Flash, result.Warn, executables, 32,
		"what the device tells of its flash memory cannot be read", "update the agent",
	},

	"inventory-unknown": {
		result.Platform, result.Warn, hardware, 32,
		"the reference values do not know this hardware", "find out who built it in; " + baseline,
	},
	"inventory-missing": {
		result.Platform, result.Warn, hardware, 32,
		"is in the reference values, but the device does not speak of it", "find out whether it was taken out, broke or may not be told of",
	},
	"tamper-open": {
		result.Platform, result.Critical, hardware, 96,
		"the enclosure is open", inspect,
	},
	"tamper-opened": {
		result.Platform, result.Warn, hardware, 32,
		"the enclosure was opened since the agent began to watch it, and is closed now", inspect,
	},
	"tamper-unavailable": {
		result.Platform, result.Warn, hardware, 32,
		"the tamper line cannot be read, so it is not known whether the enclosure is open", readAgain,
	},
	"tamper-missing": {
		result.Platform, result.Warn, hardware, 32,
		"is in the reference values, but the device does not speak of it", "configure the agent to watch it",
	},
}

// finding returns a finding of a code with the code's standing texts.
func finding(name, component, expected, observed string) result.Finding {
	c := codes[name]
	return result.Finding{
		Code: name, Severity: c.severity, Submod: c.submod, Component: printable(component),
		Expected: printable(expected), Observed: printable(observed), Meaning: c.meaning, Action: c.action,
	}
}

// maxText is the longest text that a finding takes over from a device, in bytes.
const maxText = 1024

// printable escapes whatever a terminal, a page or a database might not take as text: a device chooses file names, reasons
// and what it calls itself.
func printable(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			quoted := strconv.QuoteToGraphic(s)
			return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
		}
	}
	return s
}

var severities = map[result.Severity]int{result.Info: 0, result.Warn: 1, result.Critical: 2}

var submodOrder = map[result.Submod]int{result.Boot: 0, result.Identity: 1, result.Runtime: 2, result.Flash: 3, result.Platform: 4}

// storable replaces control characters, which no genuine device sends, in what a device calls itself. All else stays as it
// is, for enrolment compares it with what the device says again.
func storable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// sortFindings puts the most important first and keeps the order in which they were found otherwise.
func sortFindings(fs []result.Finding) {
	slices.SortStableFunc(fs, func(a, b result.Finding) int {
		return cmp.Or(
			cmp.Compare(severities[b.Severity], severities[a.Severity]),
			cmp.Compare(submodOrder[a.Submod], submodOrder[b.Submod]),
			cmp.Compare(weight(a.Code), weight(b.Code)),
		)
	})
}

// weight puts the finding that names a cause before those that follow from it.
func weight(code string) int {
	switch code {
	case "secure-boot-off":
		return 0
	case "boot-event-missing", "boot-order":
		return 2
	}
	return 1
}
