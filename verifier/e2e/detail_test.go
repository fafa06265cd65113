package e2e

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"testing"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// TestExplained: what a real TPM quoted is explained event by event; the implant is found by its digest, its file, and by
// comparing the device with a healthy one.
func TestExplained(t *testing.T) {
	w := newWorld(t, nil)
	good, bad := w.device(w.CA, healthy(t)), w.device(w.CA, implanted(t))
	acme := w.AddVendor("Acme", "R*")
	acme.MustSubmit(w.MustRelease("2.4.1", healthy(t)))
	good.attest(result.Trusted)
	bad.attest(result.Untrusted)
	digest := hex.EncodeToString(loaderDigest(t, implanted(t).Booted, healthy(t).Booted))

	for id, want := range map[string]v1.Standing{good.id: v1.Matched, bad.id: v1.Unknown} {
		var b v1.Boot
		w.Must(http.MethodGet, "/v1/devices/"+id+"/boot", nil, &b)
		i := slices.IndexFunc(b.PCRs, func(p v1.BootPCR) bool { return p.Index == 4 })
		if i < 0 || b.PCRs[i].Standing != want || !b.PCRs[i].Replayed {
			t.Errorf("PCR 4 of %s is not %s: %+v", id, want, b.PCRs)
			continue
		}
		strange := slices.ContainsFunc(b.PCRs[i].Events, func(e v1.BootEvent) bool { return e.Digest == digest && e.Standing == v1.Unknown && e.Expected != "" })
		if strange != (want == v1.Unknown) {
			t.Errorf("events of PCR 4 of %s: %+v", id, b.PCRs[i].Events)
		}
	}
	var f v1.Files
	w.Must(http.MethodGet, "/v1/devices/"+good.id+"/files?limit=500", nil, &f)
	if f.Counts["matched"] == 0 || f.Counts["unknown"] != 0 || f.NoList != "" {
		t.Errorf("files = %v, %q", f.Counts, f.NoList)
	}
	var fresh v1.Freshness
	w.Must(http.MethodGet, "/v1/devices/"+good.id+"/freshness", nil, &fresh)
	if fresh.Clock == 0 || len(fresh.Quote) == 0 || len(fresh.AK) == 0 || !fresh.Nonce.Before(fresh.At) {
		t.Errorf("freshness = %+v, want the TPM's clock and quote", fresh)
	}
	var d v1.Diff
	w.Must(http.MethodGet, "/v1/devices/"+good.id+"/diff?with="+bad.id, nil, &d)
	if i := slices.IndexFunc(d.Parts, func(p v1.DiffPart) bool { return p.Part == "pcrs" }); i < 0 || len(d.Parts[i].Lines) == 0 {
		t.Errorf("diff = %+v, want PCRs that differ", d.Parts)
	}
	var s v1.Search
	w.Must(http.MethodGet, "/v1/search?q="+digest, nil, &s)
	if s.Devices != 1 || s.Now != 1 || len(s.Hits) != 1 || s.Hits[0].Object != bad.id {
		t.Errorf("search = %+v, want the one device", s)
	}
	var c v1.Coverage
	w.Must(http.MethodGet, manifestPath("acme/r7/2.4.1", "coverage"), nil, &c)
	if c.Devices != 2 || c.Relying != 2 || c.States[result.Trusted] != 1 || c.States[result.Untrusted] != 1 {
		t.Errorf("coverage = %+v", c)
	}
	var line v1.Timeline
	w.Must(http.MethodGet, fmt.Sprintf("/v1/devices/%s/timeline?limit=50", bad.id), nil, &line)
	if len(line.Points) < 2 || line.Points[0].Kind != "result" || line.Points[0].State != result.Untrusted {
		t.Errorf("timeline = %+v", line.Points)
	}
}
