package result_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/verifier/result"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func sample() result.Result {
	return result.Result{
		Tenant: "acme", Device: strings.Repeat("ab", 32), Evidence: strings.Repeat("cd", 32),
		IssuedAt: now.Add(-time.Second), At: now, StaleAt: now.Add(time.Hour),
		State: result.Untrusted, Level: result.Certified, Policy: "default/1",
		References: []string{"r7-2.4.1"},
		Submods: map[result.Submod]result.Vector{
			result.Identity: {InstanceIdentity: 2, Hardware: 2},
			result.Boot:     {Executables: 96, Configuration: 2},
			result.Runtime:  {Executables: 33},
			result.Flash:    {},
		},
		Strength: result.Strengths{
			Identity: result.Hardware, Boot: result.Hardware, Runtime: result.MeasuredAgent, Flash: result.SelfAsserted, Platform: result.None,
		},
		Regions: []result.Region{{
			Name: "bios", Source: "mtd:bios", Offset: 4096, Length: 1 << 20, Digest: strings.Repeat("ef", 32), Status: result.RegionSame,
			Excluded: []result.Span{{Offset: 16, Length: 6}}, Left: 6,
		}},
		FlashAge: 60,
		Findings: []result.Finding{{
			Code: "boot-event-changed", Severity: result.Critical, Submod: result.Boot, Component: "PCR 4",
			Expected: "aa", Observed: "bb", Meaning: "was replaced", Action: "isolate", FirstSeen: now,
		}},
	}
}

func signer(t *testing.T) (*result.Signer, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := result.NewSigner(key, "verifier.example", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

// TestEARClaims checks the claims of draft-ietf-rats-ear-04, section 3, by their names.
func TestEARClaims(t *testing.T) {
	s, _ := signer(t)
	token, err := s.Sign(sample())
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "probity")
	want := map[string]any{
		"eat_profile":     "tag:ietf.org,2026:rats/ear#04",
		"ear_verifier_id": map[string]any{"developer": "https://github.com/probity-attest/probity", "build": "1.2.3"},
		"iss":             "verifier.example", "sub": strings.Repeat("ab", 32),
		"iat": float64(now.Unix()), "exp": float64(now.Add(time.Hour).Unix()),
		"submods": map[string]any{
			"identity": submod("affirming", "hardware", map[string]any{"instance-identity": 2.0, "hardware": 2.0}),
			"boot":     submod("contraindicated", "hardware", map[string]any{"executables": 96.0, "configuration": 2.0}),
			"runtime":  submod("warning", "measured-agent", map[string]any{"executables": 33.0}),
			"flash":    submod("none", "self-asserted", map[string]any{}),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims differ (-want +got): %s", diff)
	}
}

func submod(status, strength string, vector map[string]any) map[string]any {
	return map[string]any{
		"ear_status": status, "ear_trustworthiness_vector": vector, "ear_appraisal_policy_ids": []any{"default/1"},
		"probity": map[string]any{"strength": strength},
	}
}

// TestEARWithoutEvidence: a result that is not about evidence, as that of silence, says nothing of strength.
func TestEARWithoutEvidence(t *testing.T) {
	s, _ := signer(t)
	r := sample()
	r.Strength, r.Regions = result.Strengths{}, nil
	token, err := s.Sign(r)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"strength", "flash_regions"} {
		if strings.Contains(string(payload), word) {
			t.Errorf("the token says something of %s: %s", word, payload)
		}
	}
}

func TestStrengths(t *testing.T) {
	s := sample().Strength
	for m, want := range map[result.Submod]result.Strength{
		result.Identity: result.Hardware, result.Boot: result.Hardware, result.Runtime: result.MeasuredAgent,
		result.Flash: result.SelfAsserted, result.Platform: result.None, "other": result.None,
	} {
		if got := s.Of(m); got != want {
			t.Errorf("Of(%s) = %s, want %s", m, got, want)
		}
	}
	seen := map[string]bool{}
	for _, s := range []result.Strength{result.Hardware, result.MeasuredAgent, result.SelfAsserted, result.None} {
		if m := s.Meaning(); m == string(s) || seen[m] {
			t.Errorf("Meaning of %s = %q, want words of its own", s, m)
		} else {
			seen[m] = true
		}
	}
	if got := result.Strength("new").Meaning(); got != "new" {
		t.Errorf("Meaning of an unknown strength = %q, want its name", got)
	}
}

func TestVerify(t *testing.T) {
	s, key := signer(t)
	token, err := s.Sign(sample())
	if err != nil {
		t.Fatal(err)
	}
	got, err := result.Verify(token, &key.PublicKey, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("the token carries another result: %s", diff)
	}
	_, other := signer(t)
	if _, err := result.Verify(token, &other.PublicKey, now); err == nil {
		t.Error("verifies with another key")
	}
	if _, err := result.Verify(token, &key.PublicKey, now.Add(2*time.Hour)); !errors.Is(err, jwt.ErrTokenExpired) {
		t.Errorf("a stale result: %v, want %v", err, jwt.ErrTokenExpired)
	}
	parts := strings.Split(token, ".")
	for name, forged := range map[string]string{
		"no signature":   parts[0] + "." + parts[1] + ".",
		"algorithm none": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"other payload":  parts[0] + "." + parts[1][:len(parts[1])-4] + "AAAA." + parts[2],
		"not a token":    "x",
		"empty":          "",
	} {
		if _, err := result.Verify(forged, &key.PublicKey, now); err == nil {
			t.Errorf("%s: verifies", name)
		}
	}
	foreign := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"eat_profile": "tag:github.com,2023:veraison/ear", "exp": now.Add(time.Hour).Unix(),
	})
	old, err := foreign.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := result.Verify(old, &key.PublicKey, now); !errors.Is(err, result.ErrProfile) {
		t.Errorf("another profile: %v, want %v", err, result.ErrProfile)
	}
}

// TestTiers: AR4SI, section 2.3.2.
func TestTiers(t *testing.T) {
	for want, claims := range map[string][]int8{
		"none":            {-1, 0, 1},
		"affirming":       {2, 31, -2, -32},
		"warning":         {32, 95, -33, -96},
		"contraindicated": {96, 127, -97, -128},
	} {
		for _, c := range claims {
			if got := (result.Vector{Executables: c}).Status(); got != want {
				t.Errorf("status of %d = %s, want %s", c, got, want)
			}
		}
	}
	if got := (result.Vector{Hardware: 2, Executables: 33, FileSystem: 96}).Status(); got != "contraindicated" {
		t.Errorf("status = %s, want that of the worst claim", got)
	}
}
