package notify

import (
	"context"
	"fmt"

	"github.com/probity-attest/probity/verifier/store"
)

// evaluate compares devices that changed with the rules and reports whether there may be more.
//
// The rules are read anew each time, after the scan that a changed rule asks for: a rule that is saved while devices are
// compared has them marked, and so compared, again.
func (n *Notifier) evaluate(ctx context.Context) (more bool, err error) {
	more, err = n.cfg.Store.ScanAlerts(ctx, 1000)
	if err != nil {
		return false, err
	}
	rules, err := n.cfg.Store.AlertRules(ctx, "")
	if err != nil {
		return false, err
	}
	work, err := n.cfg.Store.AlertWork(ctx, workPage)
	if err != nil {
		return false, err
	}
	now := n.cfg.Now()
	changes := make(map[string][]store.AlertChange) // by tenant
	for i := range work {
		w := &work[i]
		c := store.AlertChange{Work: w.Seq, Device: w.Device.ID}
		if w.Damaged != nil { // it must neither hold up the others nor end an alert
			n.cfg.Log.Error("device is compared with no alert rule", "tenant", w.Device.Tenant, "device", w.Device.ID, "error", w.Damaged)
			c.Keep = true
		}
		for j := range rules {
			if c.Keep || rules[j].Tenant != w.Device.Tenant {
				continue
			}
			if m, ok := match(&rules[j], w, now); ok {
				c.Matches = append(c.Matches, m)
			}
		}
		changes[w.Device.Tenant] = append(changes[w.Device.Tenant], c)
	}
	for tenant, list := range changes {
		if err := n.cfg.Store.ApplyAlerts(ctx, tenant, list, now); err != nil {
			return false, fmt.Errorf("tenant %s: %w", tenant, err)
		}
	}
	n.cfg.Metrics.compared.Add(float64(len(work)))
	return more || len(work) == workPage, nil
}
