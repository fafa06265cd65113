package manifest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/pcr"
)

// flawless is a manifest that Lint has nothing to say about.
func flawless() *Manifest {
	m := sample()
	m.PCRs = m.PCRs[:2]
	m.PCRs[0].Events = m.PCRs[0].Events[:2]
	m.Supersedes = m.Supersedes[:1]
	m.Regions[0].Offset = 1 << 20
	return m
}

func TestLint(t *testing.T) {
	event := func(m *Manifest, i int) *Event { return &m.PCRs[0].Events[i] }
	for _, tt := range []struct {
		want   []string // code and component
		change func(*Manifest)
	}{
		{nil, func(*Manifest) {}},
		{[]string{"no-validity-end manifest"}, func(m *Manifest) { m.NotBefore, m.NotAfter = time.Time{}, time.Time{} }},
		{[]string{"no-overlap-end manifest"}, func(m *Manifest) { m.Supersedes[0].Until = time.Time{} }},
		{[]string{"no-svn manifest", "min-svn-above-svn manifest"}, func(m *Manifest) { m.SVN = 0 }},
		{[]string{"no-min-svn manifest"}, func(m *Manifest) { m.MinSVN = 0 }},
		{[]string{"min-svn-above-svn manifest"}, func(m *Manifest) { m.MinSVN = 8 }},
		{[]string{"no-pcrs manifest"}, func(m *Manifest) { m.PCRs = nil }},
		{[]string{"no-files manifest"}, func(m *Manifest) { m.Files = nil }},
		{[]string{"no-regions manifest"}, func(m *Manifest) { m.Regions = nil }},
		{[]string{"pcr-unpredictable PCR 10"}, func(m *Manifest) { m.PCRs[1].Index = 10 }},
		{[]string{"pcr-resettable PCR 16"}, func(m *Manifest) { m.PCRs[1].Index = 16 }},
		{[]string{"code-incomplete PCR 4"}, func(m *Manifest) { m.PCRs[1].Index = 4 }},
		{[]string{"no-reason PCR 1"}, func(m *Manifest) { m.PCRs[1].Note = "" }},
		{[]string{"value-without-events PCR 1"}, func(m *Manifest) { m.PCRs[1].Values = []Digests{both("x")} }},
		{nil, func(m *Manifest) { m.PCRs[1].Values = []Digests{{{Algorithm: pcr.SHA256, Value: make([]byte, 32)}}} }},
		{[]string{"nothing-required PCR 0"}, func(m *Manifest) { event(m, 0).Required = false }},
		{nil, func(m *Manifest) { event(m, 0).Required, m.PCRs[0].Values = false, []Digests{both("x")} }},
		{[]string{"bank-missing PCR 0"}, func(m *Manifest) { event(m, 0).Digests = event(m, 0).Digests[:1] }},
		{[]string{"excluded-share flash region bios"}, func(m *Manifest) { m.Regions[0].Excluded[1].Length = 0x4000 }},
		{[]string{"no-sha256 flash region bootloader"}, func(m *Manifest) { m.Regions[1].Digests = both("x")[1:] }},
		{[]string{"regions-overlap flash region bootloader"}, func(m *Manifest) { m.Regions[1].Offset = 1<<20 - 0x10000 + 1 }},
	} {
		m := flawless()
		tt.change(m)
		if err := m.Validate(); err != nil {
			t.Errorf("%v: the manifest isn't valid: %v", tt.want, err)
		}
		var got []string
		for _, w := range Lint(m) {
			got = append(got, w.Code+" "+w.Component)
			if !strings.HasSuffix(w.Message, ".") {
				t.Errorf("%s: %q is no sentence", w.Code, w.Message)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Lint: %s", diff)
		}
	}
	if got := Lint(sampleDenyList()); len(got) != 1 || got[0].Code != "no-validity-end" {
		t.Errorf("Lint of a deny-list = %v, want no-validity-end alone", got)
	}
}

func TestAccessors(t *testing.T) {
	d := both("x")
	if !slices.Equal(d.Get(pcr.SHA384), d[1].Value) || d.Get(pcr.SHA512) != nil {
		t.Errorf("Get(sha384) = %x, Get(sha512) = %x", d.Get(pcr.SHA384), d.Get(pcr.SHA512))
	}
	if got := sum("").String(); got != "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("String = %s", got)
	}
	for want, got := range map[string]string{
		"complete": Complete.String(), "partial": Partial.String(), "informative": Informative.String(), "unknown": Coverage(9).String(),
		"any component": AnyComponent.String(), "boot event": DeniedEvent.String(), "PCR value": DeniedPCR.String(),
		"flash region": DeniedRegion.String(), "file": DeniedFile.String(),
	} {
		if got != want {
			t.Errorf("String = %q, want %q", got, want)
		}
	}
	if got := Component(9).String(); got != "unknown" {
		t.Errorf("String = %q, want unknown", got)
	}
}
