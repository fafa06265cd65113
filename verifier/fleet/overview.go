package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// Notice is something that needs an operator's attention soon.
type Notice struct {
	Kind   string // "manifest", "waiver", "vendor-key", "approval", "pending" or "token"
	Object string // id of what it is about; of waivers and pending devices none
	Text   string
	At     time.Time // when it happens; zero: now
}

// Notices returns what needs attention: first what is due now, then by time. At most maxNotices.
func (f *Fleet) Notices(ctx context.Context, tenant string) (out []Notice, err error) {
	now := f.cfg.Now()
	for _, part := range []func(context.Context, string, time.Time) ([]Notice, error){
		f.pendingNotices, f.manifestNotices, f.keyNotices, f.tokenNotices, f.waiverNotices,
	} {
		some, err := part(ctx, tenant, now)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	slices.SortStableFunc(out, func(a, b Notice) int { return a.At.Compare(b.At) })
	return out[:min(len(out), maxNotices)], nil
}

func (f *Fleet) pendingNotices(ctx context.Context, tenant string, now time.Time) ([]Notice, error) {
	n, _, err := f.cfg.Store.Total(ctx, store.Filter{Tenant: tenant, Status: store.Pending, Now: now}, 0)
	if err != nil || n == 0 {
		return nil, err
	}
	text := fmt.Sprintf("%d devices wait for approval", n)
	if n == 1 {
		text = "a device waits for approval"
	}
	return []Notice{{Kind: "pending", Text: text}}, nil
}

// ends returns the earliest of some times that are set.
func ends(times ...time.Time) (out time.Time) {
	for _, t := range times {
		if !t.IsZero() && (out.IsZero() || t.Before(out)) {
			out = t
		}
	}
	return out
}

// manifestNotices tells of manifests that wait for consent, and of those in force whose time is over soon.
func (f *Fleet) manifestNotices(ctx context.Context, tenant string, now time.Time) (out []Notice, err error) {
	all, err := f.Manifests(ctx, tenant)
	for i := range all {
		m := &all[i]
		if m.Withdrawn.IsZero() && m.Awaits() && m.State != manifestVoid {
			out = append(out, Notice{
				Kind: "approval", Object: m.Name,
				Text: fmt.Sprintf("%s waits for approval: %d of %d people approved it",
					describeManifest(&m.Manifest), m.Approved, m.Needs),
			})
			continue
		}
		if !m.Counts || m.SupersededBy != "" { // another one has taken its place: its end is meant
			continue
		}
		var signed time.Time // the last signature counts
		for _, e := range m.Endorsers {
			if e.Void == "" && e.Ends.IsZero() {
				signed = time.Time{}
				break
			}
			if e.Void == "" && e.Ends.After(signed) {
				signed = e.Ends
			}
		}
		if at := ends(m.Until, m.Ends, signed); !at.IsZero() && at.Before(now.Add(noticeManifest)) {
			out = append(out, Notice{Kind: "manifest", Object: m.Name, At: at, Text: describeManifest(&m.Manifest) + " expires"})
		}
	}
	return out, err
}

func (f *Fleet) keyNotices(ctx context.Context, tenant string, now time.Time) (out []Notice, err error) {
	keys, err := f.cfg.Store.VendorKeys(ctx, tenant)
	for i := range keys {
		k := &keys[i]
		if k.Revoked.IsZero() && !k.Until.IsZero() && k.Until.After(now) && k.Until.Before(now.Add(noticeKey)) {
			text := fmt.Sprintf("key %s of %s expires", short(k.ID), k.Name)
			out = append(out, Notice{Kind: "vendor-key", Object: k.ID, At: k.Until, Text: text})
		}
	}
	return out, err
}

// tokenNotices tells of tokens for the API that were made to last and end soon.
func (f *Fleet) tokenNotices(ctx context.Context, tenant string, now time.Time) (out []Notice, err error) {
	tokens, err := f.cfg.Store.Tokens(ctx, tenant)
	for i := range tokens {
		t := &tokens[i]
		lasts, left := t.Expires.Sub(t.Created), t.Expires.Sub(now)
		if t.Operator && !t.Revoked && lasts >= lastingToken && left > 0 && left < min(noticeToken, lasts/5) {
			text := fmt.Sprintf("API token %s expires", cmp.Or(t.Name, t.ID))
			out = append(out, Notice{Kind: "token", Object: t.ID, At: t.Expires, Text: text})
		}
	}
	return out, err
}

func (f *Fleet) waiverNotices(ctx context.Context, tenant string, now time.Time) (out []Notice, err error) {
	document, err := f.policies.document(ctx, tenant)
	if err != nil || document == nil {
		return nil, err
	}
	for _, e := range document.Endings(now) {
		verb := "expires"
		if e.Over {
			verb = "expired"
		}
		out = append(out, Notice{Kind: "waiver", At: e.At, Text: e.Text + " " + verb})
	}
	return out, nil
}
