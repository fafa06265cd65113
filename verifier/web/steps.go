package web

import (
	"fmt"
	"net/url"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// stepsOf says what to do about a finding. Links lead to pages of the device; commands are complete but for names that
// only a person can know, which are in capitals.
func stepsOf(d *v1.Device, e *explainedFinding) []step {
	id := short(d.ID)
	page := pathTo("devices", d.ID)
	steps := []step{{Do: upperFirst(e.Action) + "."}}
	if e.Severity == result.Info {
		return steps
	}
	switch {
	case e.PCR >= 0:
		steps = append(steps, step{
			Do:   "See every step of the boot, and which one is not as it should be.",
			Link: fmt.Sprintf("%s/boot#pcr-%d", page, e.PCR), LinkText: fmt.Sprintf("Boot chain, PCR %d", e.PCR),
		})
	case e.File != "":
		steps = append(steps, step{
			Do: "See what else ran that nobody vouches for.", Link: page + "/files",
			LinkText: "Files",
		})
	case e.Region != "":
		steps = append(steps, step{Do: "See where it is on the chip.", Link: page + "/flash", LinkText: "Flash map"})
	}
	if e.Search != "" {
		steps = append(steps, step{
			Do:   "See on which devices the observed value ever was, and which manifests know it.",
			Link: "/search?q=" + e.Search, LinkText: "Search for it",
		})
	}
	switch f := &e.Finding; {
	case e.Region != "" && hasContent[f.Code]:
		query := url.Values{"region": {e.Region}}
		steps = append(steps, step{
			Do: "Have the device send the region's raw bytes, if its owner's charter allows it, and compare them with " +
				"the vendor's image.",
			Link: page + "/evidence?" + query.Encode() + "#capture", LinkText: "Ask for the bytes",
			Command: fmt.Sprintf("probity image diff %s VENDOR-IMAGE", fileName(e.Region)),
		})
	case f.Code == "flash-unknown", f.Submod == result.Boot && f.Code == "no-reference":
		steps = append(steps, step{
			Do:      "If you trust what this device runs now, make a baseline from it.",
			Command: "probity baseline create --device " + id,
		})
	case f.Submod == result.Boot, f.Submod == result.Runtime:
		steps = append(steps, step{
			Do: "If the change was planned, have the vendor's manifest of it submitted; or make a baseline from this " +
				"device, if you trust it.",
			Command: "probity baseline create --device " + id,
		})
	case strings.HasSuffix(f.Code, "-unavailable"):
		steps = append(steps, step{Do: "After the cause is mended, ask for new evidence with the button “Attest now”."})
	}
	return steps
}

// hasContent has the codes of findings for which the region's bytes would tell more.
var hasContent = map[string]bool{
	"flash-changed": true, "flash-differs": true, "flash-geometry": true, "flash-excluded": true, "excluded-grew": true,
	"denied": true, "rollback": true,
}

// stepsFor says what to do about a device as a whole.
func stepsFor(d *v1.Device) []step {
	page := pathTo("devices", d.ID)
	switch d.State {
	case result.Stale:
		return []step{
			{
				Do:   "Check that the device is on, that its agent runs, and that it reaches the verifier.",
				Link: page + "/timeline", LinkText: "What happened last",
			},
			{Do: "When it is back, ask for evidence with the button “Attest now”."},
		}
	case result.NeverAttested:
		if d.Status == "pending" {
			return []step{{Do: "If you know this device, let it in with the button “Approve”. If not, remove it and find " +
				"out who brought it."}}
		}
		return []step{{Do: "See what came of its evidence.", Link: page + "/timeline", LinkText: "Timeline"}}
	case result.Untrusted, result.Warning:
		return []step{
			{Do: "See what happened before.", Link: page + "/timeline", LinkText: "Timeline"},
			{
				Do: "Compare it with a device that is as it should be, or with itself at an earlier time.", Link: page + "/diff",
				LinkText: "Compare",
			},
			{Do: "After something was mended, ask for new evidence with the button “Attest now”. It comes back by itself."},
		}
	case result.Unsupported:
		return []step{
			{Do: "Submit the vendor's manifest for this model.", Link: "/manifests/submit", LinkText: "Submit a manifest"},
			{
				Do:      "Or make a baseline from a device of this model that you trust.",
				Command: "probity baseline create --device " + short(d.ID),
			},
		}
	}
	return nil
}

// fileName makes a file's name of a region's, which the device chose.
func fileName(region string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, region)
	return strings.TrimLeft(name[:min(len(name), 40)], "-") + ".bin"
}
