package policy

import (
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// What expressions see. The tags are the names in expressions; README.md says what they mean.

type deviceFacts struct {
	ID       string            `cel:"id"`
	Label    string            `cel:"label"`
	Group    string            `cel:"group"`
	Labels   map[string]string `cel:"labels"`
	Vendor   string            `cel:"vendor"`
	Model    string            `cel:"model"`
	Firmware string            `cel:"firmware"`
	Agent    string            `cel:"agent"`
	Identity string            `cel:"identity"`
}

type resultFacts struct {
	Bank       string            `cel:"bank"`
	PCRs       map[string]string `cel:"pcrs"`
	BootLog    string            `cel:"boot_log"`
	IMAEntries uint64            `cel:"ima_entries"`
	References []string          `cel:"references"`
	Strength   map[string]string `cel:"strength"`
	IssuedAt   time.Time         `cel:"issued_at"`
}

type findingFacts struct {
	Code      string    `cel:"code"`
	Severity  string    `cel:"severity"`
	Part      string    `cel:"part"`
	Component string    `cel:"component"`
	Expected  string    `cel:"expected"`
	Observed  string    `cel:"observed"`
	FirstSeen time.Time `cel:"first_seen"`
}

type claimsFacts struct {
	BootID   string        `cel:"boot_id"`
	Resets   uint32        `cel:"resets"`
	Restarts uint32        `cel:"restarts"`
	FlashAge time.Duration `cel:"flash_age"`
	Regions  []regionFacts `cel:"flash_regions"`
}

type regionFacts struct {
	Name     string `cel:"name"`
	Source   string `cel:"source"`
	Offset   uint64 `cel:"offset"`
	Length   uint64 `cel:"length"`
	Digest   string `cel:"digest"`
	Excluded uint64 `cel:"excluded"`
	Status   string `cel:"status"`
	Reason   string `cel:"reason"`
}

// factsOf returns the variables of expressions.
func factsOf(d *Device, r *result.Result, now time.Time) map[string]any {
	findings := make([]findingFacts, len(r.Findings))
	for i := range r.Findings {
		f := &r.Findings[i]
		findings[i] = findingFacts{
			Code: f.Code, Severity: string(f.Severity), Part: string(f.Submod), Component: f.Component, Expected: f.Expected,
			Observed: f.Observed, FirstSeen: f.FirstSeen,
		}
	}
	claims := claimsFacts{
		BootID: r.BootID, Resets: r.Resets, Restarts: r.Restarts, FlashAge: time.Duration(r.FlashAge) * time.Second,
		Regions: make([]regionFacts, len(r.Regions)),
	}
	for i := range r.Regions {
		g := &r.Regions[i]
		claims.Regions[i] = regionFacts{
			Name: g.Name, Source: g.Source, Offset: g.Offset, Length: g.Length, Digest: g.Digest, Excluded: g.Left,
			Status: string(g.Status), Reason: g.Reason,
		}
	}
	strength := map[string]string{}
	for _, m := range []result.Submod{result.Identity, result.Boot, result.Runtime, result.Flash, result.Platform} {
		strength[string(m)] = string(r.Strength.Of(m))
	}
	return map[string]any{
		"device": &deviceFacts{
			ID: d.ID, Label: d.Label, Group: d.Group, Labels: d.Labels, Vendor: d.Vendor, Model: d.Model, Firmware: d.Firmware,
			Agent: d.Agent, Identity: string(d.Level),
		},
		"result": &resultFacts{
			Bank: r.Bank, PCRs: r.PCRs, BootLog: r.BootLog, IMAEntries: r.IMAEntries, References: r.References,
			Strength: strength, IssuedAt: r.IssuedAt,
		},
		"findings": findings,
		"claims":   &claims,
		"now":      now,
	}
}
