package e2e

import (
	"bytes"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/eventlog/eventlogtest"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/result"
)

func manifestPath(id string, rest ...string) string {
	return strings.Join(append([]string{"/v1/manifests/" + url.PathEscape(id)}, rest...), "/")
}

// implanted is a healthy machine with another boot loader.
func implanted(t *testing.T) virtual.Machine {
	t.Helper()
	m := healthy(t)
	m.Booted = remeasured(t, m.Booted, eventlogtest.BootLoader, nil)
	m.Firmware = "2.5.0"
	return m
}

// TestVendor: manifests make devices trusted that nobody took for golden; a dry run tells what an update will do; old
// and new are both fine during the overlap; a stolen key and a withdrawn manifest take trust away.
func TestVendor(t *testing.T) {
	w := newWorld(t, nil)
	old, next := w.device(w.CA, healthy(t)), w.device(w.CA, implanted(t))
	old.attest(result.Unsupported)
	next.attest(result.Unsupported)
	acme := w.AddVendor("Acme", "R*")
	if m := acme.MustSubmit(w.MustRelease("2.4.1", healthy(t))); m.State != "active" || !m.Counts {
		t.Errorf("manifest = %+v, want it active", m)
	}
	old.attest(result.Trusted)
	next.attest(result.Untrusted)

	update := w.MustRelease("2.5.0", implanted(t))
	update.Supersedes = []manifest.Supersession{{ID: "acme/r7/2.4.1"}}
	var job v1.Job
	if err := w.Call(http.MethodPost, "/v1/dry-runs", acme.MustSign(update), &job); err != nil {
		t.Fatal(err)
	}
	var dry v1.DryRun
	w.Await("the dry run is over", func() bool {
		w.Must(http.MethodGet, "/v1/dry-runs/"+job.ID, nil, &dry)
		return dry.Over
	})
	if dry.Failed != "" || dry.Devices != 2 || dry.Overlap[result.Trusted] != 2 || dry.After[result.Trusted] != 1 || dry.Now[result.Trusted] != 1 {
		t.Errorf("dry run = %+v, want both trusted in the overlap, the new one after it", dry)
	}

	acme.MustSubmit(update)
	old.attest(result.Trusted)
	next.attest(result.Trusted)
	var m v1.Manifest
	w.Must(http.MethodPost, manifestPath("acme/r7/2.4.1", "supersede"), v1.Supersession{By: "acme/r7/2.5.0", Overlap: 2}, &m)
	if m.State != "superseded" || m.Until == nil {
		t.Errorf("old manifest = %+v", m)
	}
	w.Await("the overlap is over", func() bool {
		r, err := old.once()
		if err != nil {
			t.Fatal(err)
		}
		return r.State == string(result.Warning)
	})
	next.attest(result.Trusted)

	w.Must(http.MethodPost, manifestPath("acme/r7/2.5.0", "withdraw"), v1.Withdrawal{Reason: "built from the wrong branch"}, nil)
	next.attest(result.Untrusted)
	fixed := w.MustRelease("2.5.1", implanted(t))
	acme.MustSubmit(fixed)
	next.attest(result.Trusted)
	w.Must(http.MethodPost, "/v1/vendors/"+acme.ID+"/revoke", v1.KeyRevocation{Reason: "stolen"}, nil)
	next.attest(result.Trusted) // what was submitted before stays
	late := w.MustRelease("2.5.2", implanted(t))
	if err := w.Call(http.MethodPost, "/v1/manifests", acme.MustSign(late), &m); err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("submitted with the revoked key: %v", err)
	}
}

// TestDenied: what a device runs is denied afterwards: it is found, where and since when, and becomes untrusted.
func TestDenied(t *testing.T) {
	w := newWorld(t, nil)
	d, other := w.device(w.CA, implanted(t)), w.device(w.CA, healthy(t))
	acme := w.AddVendor("Acme", "R*")
	acme.MustSubmit(w.MustRelease("2.4.1", healthy(t)))
	acme.MustSubmit(w.MustRelease("2.5.0", implanted(t)))
	d.attest(result.Trusted)
	other.attest(result.Trusted)
	digest := hex.EncodeToString(loaderDigest(t, implanted(t).Booted, healthy(t).Booted))
	w.Must(http.MethodPost, "/v1/denylist", v1.NewDenial{Digest: digest, Advisory: "CVE-2026-12345"}, nil)
	var seen v1.Sightings
	w.Must(http.MethodGet, "/v1/sightings?digest="+digest, nil, &seen)
	if len(seen.Sightings) != 1 || seen.Sightings[0].Device != d.id || seen.Sightings[0].Until != nil || !strings.HasPrefix(seen.Sightings[0].Place, "PCR 4") {
		t.Errorf("sightings = %+v, want the one device with the boot loader", seen)
	}
	r := d.attest(result.Untrusted)
	if len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], "CVE-2026-12345") {
		t.Errorf("reasons = %q, want the advisory first", r.Reasons)
	}
	other.attest(result.Trusted)
}

// loaderDigest returns the digest that only the first log has.
func loaderDigest(t *testing.T, log, other []byte) []byte {
	t.Helper()
	digests := func(raw []byte) (out [][]byte) {
		l, err := eventlog.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		for i := range l.Events {
			out = append(out, l.Events[i].Digest(pcr.SHA256))
		}
		return out
	}
	has := digests(other)
	for _, d := range digests(log) {
		if !slices.ContainsFunc(has, func(h []byte) bool { return bytes.Equal(h, d) }) {
			return d
		}
	}
	t.Fatal("the logs have the same events")
	return nil
}
