package main

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// explanation is what "explain" writes as JSON and YAML: why a device is in the state that it is in.
type explanation struct {
	Device    v1.Device     `json:"device"`
	Reason    string        `json:"reason"` // the state in one sentence
	Result    int64         `json:"result,omitempty"`
	Findings  []explained   `json:"findings"` // most important first
	Gaps      []gap         `json:"gaps"`     // what was not checked, and why
	Parts     []partSummary `json:"parts"`
	Freshness freshness     `json:"freshness"`
	Next      []step        `json:"next"` // what to do about the device as a whole
}

// explained is a finding with what else is known of it.
type explained struct {
	result.Finding
	Words        string   `json:"words"` // what happened, in a sentence
	Where        place    `json:"where"`
	Others       *int     `json:"other_devices,omitempty"` // that show the same now; absent: not known
	More         bool     `json:"more_devices,omitempty"`  // there are more than other_devices says
	OtherDevices []string `json:"other_device_ids,omitempty"`
	Steps        []step   `json:"steps"`
}

// place is where a finding is, as far as the result tells.
type place struct {
	PCR    *int   `json:"pcr,omitempty"`
	Module string `json:"module,omitempty"` // GUID of a firmware module or volume, which the measured event names
	Region string `json:"region,omitempty"` // flash region
	Source string `json:"source,omitempty"` // where the device reads the region from
	Offset uint64 `json:"offset,omitempty"` // of the region in the source, in bytes
	Length uint64 `json:"length,omitempty"` // of the region, in bytes
	File   string `json:"file,omitempty"`
}

// step is something to do: in words, and as a command where there is one.
type step struct {
	Do      string `json:"do"`
	Command string `json:"command,omitempty"`
}

// gap is something that was not checked.
type gap struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// partSummary says what is known of a part of the device.
type partSummary struct {
	Part     result.Submod   `json:"part"`
	Status   string          `json:"status"` // AR4SI tier
	Strength result.Strength `json:"strength"`
	Findings int             `json:"findings"` // that count against it
}

// freshness says how old what is known is.
type freshness struct {
	LastSeen *time.Time `json:"last_seen,omitempty"`
	StaleAt  *time.Time `json:"stale_at,omitempty"`
	Asked    *time.Time `json:"nonce_issued_at,omitempty"` // the evidence is newer than that
	FlashAge uint32     `json:"flash_age_seconds,omitempty"`
	Resets   uint32     `json:"reset_count"`
	BootID   string     `json:"boot_id,omitempty"`
}

func (a *app) explainCommand() *cobra.Command {
	return a.reads(&cobra.Command{
		Use: "explain DEVICE", Short: "Explain a device's state: what changed, where, since when, on how many others, what to do",
		Long: `Explain a device's state in plain words, most important first: what changed, where, what was expected and observed, since
when, on how many other devices the same is found, and what to do next; then what was not checked and why, what the
evidence on each part rests on, and how fresh it is. It reads what is stored and asks nothing of the device.
DEVICE is its label, or its id or the first characters of it (at least 4). The exit code tells the state: see
probity --help.`,
		Args: need("DEVICE"),
		RunE: a.asks(func(cmd *cobra.Command, c *client, args []string) error {
			e, err := explain(cmd.Context(), c, args[0])
			if err != nil {
				return unknownDevice(err)
			}
			if err := a.print(e, func(w io.Writer) error { return a.writeExplanation(w, e) }); err != nil {
				return err
			}
			return verdict(e.Device.State)
		}),
	})
}

// explain collects what the verifier knows.
func explain(ctx context.Context, c *client, name string) (*explanation, error) {
	d, err := c.deviceWithResults(ctx, name, 1)
	if err != nil {
		return nil, err
	}
	e := &explanation{
		Device: d.Device, Reason: reason(d), Findings: []explained{}, Gaps: []gap{}, Parts: []partSummary{},
		Freshness: freshness{LastSeen: d.LastSeen, StaleAt: d.StaleAt}, Next: stepsFor(&d.Device),
	}
	r := newest(d)
	if r == nil {
		e.Gaps = append(e.Gaps, gap{"everything", "no evidence of this device was accepted yet"})
		return e, nil
	}
	e.Result = r.Seq
	e.Freshness.FlashAge, e.Freshness.Resets, e.Freshness.BootID = r.FlashAge, r.Resets, r.BootID
	if !r.IssuedAt.IsZero() {
		e.Freshness.Asked = &r.IssuedAt
	}
	similar, err := fetch[v1.SimilarFindings](ctx, c, devicePath(d.ID, "similar"), nil)
	switch {
	case isMissing(err): // a verifier of an older version
	case err != nil:
		return nil, err
	}
	for i := range r.Findings {
		e.Findings = append(e.Findings, explainFinding(&d.Device, &r.Result, &r.Findings[i]))
		if similar.Result == r.Seq && i < len(similar.Findings) {
			s := &similar.Findings[i]
			last := &e.Findings[i]
			last.Others, last.More, last.OtherDevices = &s.Others, s.More, s.Devices
		}
	}
	e.Gaps = append(e.Gaps, gapsOf(&r.Result)...)
	e.Parts = append(e.Parts, partsOf(&r.Result)...)
	return e, nil
}

// submods in the order in which a machine comes up.
var submods = []result.Submod{result.Identity, result.Boot, result.Runtime, result.Flash, result.Platform}

func partsOf(r *result.Result) []partSummary {
	var out []partSummary
	for _, m := range submods {
		p := partSummary{Part: m, Status: r.Submods[m].Status(), Strength: r.Strength.Of(m)}
		for i := range r.Findings {
			if r.Findings[i].Submod == m && r.Findings[i].Severity != result.Info {
				p.Findings++
			}
		}
		out = append(out, p)
	}
	return out
}

// gapsOf lists what an appraisal could not look at, or had nothing to compare with.
func gapsOf(r *result.Result) []gap {
	var out []gap
	for i := range r.Findings {
		if f := &r.Findings[i]; isGap[f.Code] {
			why := f.Meaning
			if f.Observed != "" {
				why += " (" + f.Observed + ")"
			}
			out = append(out, gap{f.Component, why})
		}
	}
	for i := range r.Regions {
		switch g := &r.Regions[i]; {
		case g.Status == result.RegionUnavailable && !told(out, g.Name):
			out = append(out, gap{"flash region " + g.Name, "the device could not read it: " + g.Reason})
		case g.Left > 0:
			out = append(out, gap{"flash region " + g.Name, strconv.FormatUint(g.Left, 10) + " of its bytes are excluded from the digest"})
		}
	}
	for _, m := range submods {
		if r.Strength != (result.Strengths{}) && r.Strength.Of(m) == result.None {
			out = append(out, gap{string(m), "nothing of it was appraised"})
		}
	}
	if r.IMAEntries == 0 && r.Strength.Runtime == result.Hardware {
		out = append(out, gap{"files that ran", "the IMA list is empty"})
	}
	return out
}

func told(list []gap, region string) bool {
	for _, g := range list {
		if g.What == "flash region "+region {
			return true
		}
	}
	return false
}

// isGap has the codes of findings that say that something could not be checked.
var isGap = map[string]bool{
	"no-reference": true, "boot-log-unavailable": true, "boot-log-malformed": true, "secure-boot-unknown": true,
	"ima-unavailable": true, "ima-unbound": true, "ima-violation": true, "ima-padded": true,
	"flash-missing": true, "flash-unavailable": true, "flash-unknown": true, "flash-malformed": true, "flash-old": true,
	"tamper-unavailable": true, "tamper-missing": true, "inventory-missing": true, "platform-malformed": true,
	"pcr-uncovered": true, "boot-event-uncovered": true, "bank-weak": true,
}
