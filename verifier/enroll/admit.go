package enroll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// known returns the device's record, nil if there is none.
func (e *Enroller) known(ctx context.Context, tenant, id string) (*store.Device, error) {
	d, err := e.config.Store.Device(ctx, tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read device: %w", err)
	}
	return &d, nil
}

// admissible refuses at the hello what would be refused after the proof anyway, so that neither side works in vain: a
// device that is known otherwise, one whose renewal is withheld, an unknown one without a valid token.
func (e *Enroller) admissible(ctx context.Context, tenant string, c *candidate, token string, now time.Time) error {
	d, err := e.known(ctx, tenant, c.id)
	if err != nil {
		return err
	}
	if d == nil {
		_, err := e.checkToken(ctx, tenant, c.id, token, now)
		return err
	}
	if err := e.unchanged(ctx, d, c, now, "claimed, not proved"); err != nil {
		return err
	}
	return e.renewable(ctx, d, now)
}

// unchanged refuses a known device whose keys or claims are not those on record, and tells the operator.
func (e *Enroller) unchanged(ctx context.Context, d *store.Device, c *candidate, now time.Time, how string) error {
	changes := changed(d, c)
	if len(changes) == 0 {
		return nil
	}
	if err := e.report(ctx, now, how, store.Event{
		Tenant: d.Tenant, Device: d.ID, Kind: EventIdentityChanged, Actor: d.ID,
		Detail: strings.Join(changes, "; ") + " (" + how + "); the record was not changed",
	}); err != nil {
		return err
	}
	return deny(CodeIdentityChanged, 0, "the verifier knows this endorsement key with other keys or claims: the operator "+
		"must look into it, and may then remove the device so that it can enrol anew: probity device remove")
}

// changed says in which of its keys and claims a device differs from its record. A claim that either side lacks is no
// difference.
func changed(d *store.Device, c *candidate) []string {
	var out []string
	other := func(what string, known, now []byte) {
		if len(known) > 0 && !bytes.Equal(known, now) {
			out = append(out, fmt.Sprintf("%s was %s, is %s", what, proto.Sum(known), proto.Sum(now)))
		}
	}
	other("EK", d.EKPublic, c.hello.EKPublic)
	other("AK", d.AKPublic, c.akPublic)
	other("TLS key", d.TLSPublic, c.tlsPublic)
	if p := c.hello.Platform; p != nil {
		for _, claim := range []struct{ what, known, now string }{
			{"vendor", d.Vendor, clip(p.Vendor)}, {"model", d.Model, clip(p.Model)},
		} {
			if claim.known != "" && claim.now != "" && claim.known != claim.now {
				out = append(out, fmt.Sprintf("%s was %q, is %q", claim.what, claim.known, claim.now))
			}
		}
	}
	return out
}

// renewable withholds the certificate of an enrolled device while its newest result is contraindicated. Silence does
// not help: what was untrusted when it became stale is still withheld, until good evidence comes.
func (e *Enroller) renewable(ctx context.Context, d *store.Device, now time.Time) error {
	if d.Status != store.Active || d.State != result.Untrusted {
		return nil
	}
	if err := e.report(ctx, now, "", store.Event{
		Tenant: d.Tenant, Device: d.ID, Kind: EventWithheld, Actor: "verifier",
		Detail: "the device is untrusted: its client certificate is not renewed until its evidence is good again",
	}); err != nil {
		return err
	}
	return deny(CodeWithheld, e.config.RetryWithheld,
		"the device is untrusted: its certificate is renewed when its evidence is good again; see probity device show")
}

// admit decides about a device that has proved its keys, and writes the decision. Another writer may change the record
// meanwhile (an appraisal, an operator, the same device twice): then everything is decided anew on what is there now.
func (e *Enroller) admit(ctx context.Context, tenant string, c *candidate, token string, now time.Time) (*proto.EnrollDown, error) {
	for range maxConflicts {
		down, err := e.admitOnce(ctx, tenant, c, token, now)
		if !errors.Is(err, store.ErrConflict) {
			return down, err
		}
	}
	return nil, fmt.Errorf("write device: %w (%d times)", store.ErrConflict, maxConflicts)
}

// admitOnce checks, in order: same identity as on record, renewal not withheld, EK certificate, token where the device
// is not known, identity level.
func (e *Enroller) admitOnce(
	ctx context.Context, tenant string, c *candidate, token string, now time.Time,
) (*proto.EnrollDown, error) {
	d, err := e.known(ctx, tenant, c.id)
	if err != nil {
		return nil, err
	}
	if d != nil {
		if err := e.unchanged(ctx, d, c, now, "proved by the TPM"); err != nil {
			return nil, err
		}
		if err := e.renewable(ctx, d, now); err != nil {
			return nil, err
		}
	}
	issuer, unverified, err := e.certified(c, now)
	if err != nil {
		return nil, err
	}
	tokenID, err := e.neededToken(ctx, d, tenant, c.id, token, now)
	if err != nil {
		return nil, err
	}
	level, admitted := e.level(d, c, issuer != "", tokenID != "")
	if !admitted && d != nil && d.Status == store.Active {
		return nil, e.unverifiedNow(ctx, d, unverified, now)
	}
	if tokenID != "" {
		if err := e.useToken(ctx, tokenID, c.id, now); err != nil {
			return nil, err
		}
	}
	next := record(d, tenant, c, now)
	next.EKIssuer = issuer
	var events []store.Event
	first := d == nil || d.EnrolledAt.IsZero()
	if unverified != nil && !errors.Is(unverified, errNone) && (first || d.Level == result.Certified) {
		events = append(events, event(next, EventUnverified, c.id, unverified.Error(), now))
	}
	if !admitted {
		return e.pend(ctx, d, next, events, now)
	}
	return e.issue(ctx, d, next, level, c, events, now)
}

// neededToken returns the id of the token that lets a device in that is not approved or enrolled, "" where it needs
// none. A pending device may ask again without one: its token may be used up or expired by the time the operator
// decides.
func (e *Enroller) neededToken(
	ctx context.Context, d *store.Device, tenant, id, token string, now time.Time,
) (string, error) {
	if d != nil && d.Status != store.Pending {
		return "", nil
	}
	tokenID, err := e.checkToken(ctx, tenant, id, token, now)
	var no *denial
	if d != nil && errors.As(err, &no) {
		return "", nil
	}
	return tokenID, err
}

// certified returns who certified the EK. A certificate that does not verify is the second value, and no error: it
// decides the level only. One for another key is an error.
func (e *Enroller) certified(c *candidate, now time.Time) (issuer string, unverified, err error) {
	if c.endorsement == nil {
		return "", nil, nil
	}
	set, err := e.roots.current()
	if err != nil {
		return "", nil, fmt.Errorf("TPM makers' roots: %w", err)
	}
	issuer, unverified = verifyEK(c.hello.EKCertificates, c.endorsement, set, now)
	if errors.Is(unverified, errOtherKey) {
		return "", nil, deny(CodeCertificate, 0, "the EK certificate is for another key than the hello's endorsement key")
	}
	if unverified == nil && issuer == "" {
		issuer = "TPM maker without a name"
	}
	return issuer, unverified, nil
}

// level decides how well a device is known and whether that lets it in.
func (e *Enroller) level(d *store.Device, c *candidate, certified, token bool) (result.Level, bool) {
	approved := d != nil && d.Status == store.Approved
	active := d != nil && d.Status == store.Active
	switch {
	case c.endorsement == nil:
		return result.Software, approved || active && d.Level == result.Software
	case certified && (approved || active || token):
		return result.Certified, true
	case approved, active && d.Level == result.Pinned:
		return result.Pinned, true
	case active && d.Level == result.FirstUse:
		return result.FirstUse, true
	case e.config.FirstUse && (active || token):
		return result.FirstUse, true
	}
	return "", false
}

// unverifiedNow refuses the renewal of a device that was certified when it enrolled and no longer is.
func (e *Enroller) unverifiedNow(ctx context.Context, d *store.Device, why error, now time.Time) error {
	detail := "its EK certificate no longer verifies"
	if why != nil {
		detail += ": " + clip(why.Error())
	}
	if err := e.report(ctx, now, "", event(*d, EventUnverified, d.ID, detail, now)); err != nil {
		return err
	}
	return deny(CodeUnverified, e.config.RetryWithheld,
		"the EK certificate of this device no longer verifies: the operator must restore the TPM maker's root or approve the device")
}

// record returns the device's next record as far as every outcome has it in common.
func record(d *store.Device, tenant string, c *candidate, now time.Time) store.Device {
	next := store.Device{Tenant: tenant, ID: c.id, State: result.NeverAttested, Since: now}
	if d != nil {
		next = *d
	}
	next.EKPublic, next.AKPublic, next.TLSPublic = c.hello.EKPublic, c.akPublic, c.tlsPublic
	next.Agent = clip(c.hello.Agent)
	if next.State == "" {
		next.State, next.Since = result.NeverAttested, now
	}
	if p := c.hello.Platform; p != nil {
		for _, claim := range []struct {
			to  *string
			now string
		}{{&next.Vendor, p.Vendor}, {&next.Model, p.Model}, {&next.Firmware, p.FirmwareVersion}} {
			if claim.now != "" {
				*claim.to = clip(claim.now)
			}
		}
	}
	return next
}

func event(d store.Device, kind, actor, detail string, now time.Time) store.Event {
	return store.Event{At: now, Tenant: d.Tenant, Device: d.ID, Kind: kind, Actor: actor, Detail: clip(detail)}
}

// pend keeps a device that the operator must approve. Asking again changes nothing.
func (e *Enroller) pend(
	ctx context.Context, d *store.Device, next store.Device, events []store.Event, now time.Time,
) (*proto.EnrollDown, error) {
	if d == nil || len(d.AKPublic) == 0 {
		next.Status = store.Pending
		next.Level = ""
		why := "its EK is not certified by a known TPM maker"
		if len(next.EKPublic) == 0 {
			why = "it has no TPM"
			next.Level = result.Software
		}
		events = append(events, event(next, EventPending, next.ID, why+": an operator must approve it", now))
		if _, err := e.config.Store.SaveDevice(ctx, next, events...); err != nil {
			return nil, fmt.Errorf("write device: %w", err)
		}
	}
	return &proto.EnrollDown{Pending: &proto.EnrollPending{
		Message: "an operator must approve this device: probity device approve " + next.ID,
		Retry:   seconds(e.config.RetryPending),
	}}, nil
}

// issue certifies the TLS key and keeps the device as enrolled. The certificate leaves only after it is on record.
func (e *Enroller) issue(
	ctx context.Context, d *store.Device, next store.Device, level result.Level, c *candidate, events []store.Event, now time.Time,
) (*proto.EnrollDown, error) {
	chain, serial, expires, err := e.config.Issuer.IssueDevice(next.Tenant, next.ID, c.tls)
	if err != nil {
		return nil, err
	}
	kind := EventRenewed
	if next.EnrolledAt.IsZero() {
		kind = EventEnrolled
		next.EnrolledAt = now
	}
	detail := fmt.Sprintf("identity level %s, certificate %s until %s", level, serial, expires.UTC().Format(time.RFC3339))
	if next.EKIssuer != "" {
		detail += ", EK certified by " + next.EKIssuer
	}
	events = append(events, event(next, kind, next.ID, detail, now))
	if d != nil && d.Status == store.Active && d.Level != level {
		events = append(events, event(next, EventLevelChanged, "verifier",
			fmt.Sprintf("identity level was %s, is %s", d.Level, level), now))
	}
	next.Status, next.Level = store.Active, level
	next.CertSerial, next.CertExpires = serial, expires
	if _, err := e.config.Store.SaveDevice(ctx, next, events...); err != nil {
		return nil, fmt.Errorf("write device: %w", err)
	}
	return &proto.EnrollDown{Certificate: &proto.EnrollCertificate{
		Chain: chain, Renew: seconds(expires.Sub(now) * 2 / 3), Level: string(level),
	}}, nil
}
