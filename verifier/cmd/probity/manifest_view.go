package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
)

// manifestView is a manifest for tools.
type manifestView struct {
	ID         string             `json:"id"`
	Vendor     string             `json:"vendor,omitempty"`
	Model      string             `json:"model,omitempty"`
	Version    string             `json:"version,omitempty"`
	SVN        uint64             `json:"svn,omitempty"`
	MinSVN     uint64             `json:"min_svn,omitempty"`
	NotBefore  *time.Time         `json:"not_before,omitempty"`
	NotAfter   *time.Time         `json:"not_after,omitempty"`
	Signature  *signatureView     `json:"signature,omitempty"`
	PCRs       []pcrView          `json:"pcrs,omitempty"`
	Regions    []regionView       `json:"regions,omitempty"`
	Files      []fileView         `json:"files,omitempty"`
	Supersedes []supersessionView `json:"supersedes,omitempty"`
	Withdraws  []withdrawalView   `json:"withdraws,omitempty"`
	Advisory   string             `json:"advisory,omitempty"`
	Denied     []denialView       `json:"denied,omitempty"`
}

type (
	signatureView struct {
		Issuer    string     `json:"issuer"`
		Algorithm string     `json:"algorithm"`
		KeyID     string     `json:"key_id,omitempty"`
		NotBefore *time.Time `json:"not_before,omitempty"`
		NotAfter  *time.Time `json:"not_after,omitempty"`
		Verified  bool       `json:"verified"`
	}
	pcrView struct {
		PCR      int         `json:"pcr"`
		Coverage string      `json:"coverage"`
		Note     string      `json:"note,omitempty"`
		Values   [][]string  `json:"values,omitempty"`
		Events   []eventView `json:"events,omitempty"`
	}
	eventView struct {
		Slot     string   `json:"slot"`
		Digests  []string `json:"digests"`
		Required bool     `json:"required"`
		Note     string   `json:"note,omitempty"`
	}
	regionView struct {
		Name     string      `json:"name"`
		Offset   uint64      `json:"offset"`
		Length   uint64      `json:"length"`
		Digests  []string    `json:"digests"`
		Excluded []rangeView `json:"excluded,omitempty"`
		Note     string      `json:"note,omitempty"`
	}
	rangeView struct {
		Offset uint64 `json:"offset"`
		Length uint64 `json:"length"`
		Reason string `json:"reason"`
	}
	fileView struct {
		Path   string `json:"path"`
		Digest string `json:"digest"`
	}
	supersessionView struct {
		ID    string     `json:"id"`
		Until *time.Time `json:"until,omitempty"`
	}
	withdrawalView struct {
		ID     string `json:"id"`
		Reason string `json:"reason"`
	}
	denialView struct {
		Component string   `json:"component"`
		Digests   []string `json:"digests"`
		Note      string   `json:"note,omitempty"`
	}
)

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func digestTexts(list manifest.Digests) []string {
	out := make([]string, len(list))
	for i, d := range list {
		out[i] = d.String()
	}
	return out
}

func viewOf(d *document) manifestView {
	m := d.manifest
	v := manifestView{
		ID: m.ID, Vendor: m.Vendor, Model: m.Model, Version: m.Version, SVN: m.SVN, MinSVN: m.MinSVN,
		NotBefore: known(m.NotBefore), NotAfter: known(m.NotAfter), Advisory: m.Advisory,
	}
	if s := d.signature; s != nil {
		v.Signature = viewOfSignature(s)
	}
	for _, p := range m.PCRs {
		x := pcrView{PCR: p.Index, Coverage: p.Coverage.String(), Note: p.Note}
		for _, value := range p.Values {
			x.Values = append(x.Values, digestTexts(value))
		}
		for _, e := range p.Events {
			x.Events = append(x.Events, eventView{e.Slot, digestTexts(e.Digests), e.Required, e.Note})
		}
		v.PCRs = append(v.PCRs, x)
	}
	for _, r := range m.Regions {
		x := regionView{Name: r.Name, Offset: r.Offset, Length: r.Length, Digests: digestTexts(r.Digests), Note: r.Note}
		for _, e := range r.Excluded {
			x.Excluded = append(x.Excluded, rangeView(e))
		}
		v.Regions = append(v.Regions, x)
	}
	for _, f := range m.Files {
		v.Files = append(v.Files, fileView{f.Path, f.Digest.String()})
	}
	for _, s := range m.Supersedes {
		v.Supersedes = append(v.Supersedes, supersessionView{s.ID, known(s.Until)})
	}
	for _, w := range m.Withdraws {
		v.Withdraws = append(v.Withdraws, withdrawalView(w))
	}
	for _, x := range m.Denied {
		v.Denied = append(v.Denied, denialView{x.Component.String(), digestTexts(x.Digests), x.Note})
	}
	return v
}

func viewOfSignature(s *manifest.Signature) *signatureView {
	return &signatureView{
		Issuer: s.Issuer, Algorithm: s.Algorithm, KeyID: hex.EncodeToString(s.KeyID), NotBefore: known(s.NotBefore),
		NotAfter: known(s.NotAfter), Verified: s.Key != nil,
	}
}

// writeManifest writes a manifest for people.
func (a *app) writeManifest(w io.Writer, d *document, files bool) error {
	m := d.manifest
	lines := []line{{"manifest", m.ID}, {"vendor", m.Vendor}, {"model", m.Model}, {"version", m.Version}, {"advisory", m.Advisory}}
	if m.SVN > 0 || m.MinSVN > 0 {
		lines = append(lines, line{"security version", fmt.Sprintf("%d, at least %d is safe", m.SVN, m.MinSVN)})
	}
	lines = append(lines, line{"valid", period(m.NotBefore, m.NotAfter)}, line{"signature", signatureText(d.signature)})
	for _, s := range m.Supersedes {
		lines = append(lines, line{"supersedes", s.ID + ", both are valid " + cmpText(date(s.Until), "until ", "until its own end")})
	}
	for _, x := range m.Withdraws {
		lines = append(lines, line{"withdraws", x.ID + ": " + x.Reason})
	}
	var head bytes.Buffer
	writeLines(&head, 0, lines)
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	for _, f := range []func() error{
		func() error { return a.writeRegisters(w, m) }, func() error { return a.writeFlash(w, m) },
		func() error { return a.writeDenied(w, m) }, func() error { return a.writeFiles(w, m, files) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func cmpText(s, before, none string) string {
	if s == "" {
		return none
	}
	return before + s
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func period(from, until time.Time) string {
	text := cmpText(date(from), "from ", "from the beginning")
	return text + ", " + cmpText(date(until), "until ", "without an end")
}

func signatureText(s *manifest.Signature) string {
	if s == nil {
		return "none"
	}
	text := fmt.Sprintf("claims to be of %q, key %s, %s", s.Issuer, cmpText(clipDigest(hex.EncodeToString(s.KeyID)), "", "not named"), s.Algorithm)
	if s.Key != nil {
		return strings.Replace(text, "claims to be of", "of", 1)
	}
	return text + "; not verified here"
}

func (a *app) writeRegisters(w io.Writer, m *manifest.Manifest) error {
	if len(m.PCRs) == 0 {
		return nil
	}
	fmt.Fprintln(w) // errors come again with the table
	t := a.table("PCR", "COVERAGE", "NEEDED", "SLOT", "DIGEST", "NOTE")
	t.width = textWidth
	for _, p := range m.PCRs {
		index := strconv.Itoa(p.Index)
		t.add(index, p.Coverage.String(), "", "", "", p.Note)
		for _, v := range p.Values {
			t.add(index, "", "", "(value)", brief(v[0].String()), "")
		}
		for _, e := range p.Events {
			needed := "allowed"
			if e.Required {
				needed = "required"
			}
			t.add(index, "", needed, e.Slot, brief(e.Digests[0].String()), e.Note)
		}
	}
	return t.write(w)
}

func (a *app) writeFlash(w io.Writer, m *manifest.Manifest) error {
	if len(m.Regions) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := a.table("REGION", "OFFSET", "LENGTH", "DIGEST", "EXCLUDED")
	t.width = textWidth
	for _, r := range m.Regions {
		var parts []string
		for _, x := range r.Excluded {
			parts = append(parts, fmt.Sprintf("%#x+%d: %s", x.Offset, x.Length, x.Reason))
		}
		t.add(r.Name, fmt.Sprintf("%#x", r.Offset), strconv.FormatUint(r.Length, 10), brief(r.Digests[0].String()), strings.Join(parts, ", "))
	}
	return t.write(w)
}

func (a *app) writeDenied(w io.Writer, m *manifest.Manifest) error {
	if len(m.Denied) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := a.table("DENIED", "DIGEST", "NOTE")
	t.width = textWidth
	for _, x := range m.Denied {
		t.add(x.Component.String(), brief(x.Digests[0].String()), x.Note)
	}
	return t.write(w)
}

func (a *app) writeFiles(w io.Writer, m *manifest.Manifest, all bool) error {
	if len(m.Files) == 0 {
		return nil
	}
	if !all {
		_, err := fmt.Fprintf(w, "\n%d files (--files lists them)\n", len(m.Files))
		return err
	}
	fmt.Fprintln(w)
	t := a.table("FILE", "DIGEST")
	for _, f := range m.Files {
		t.add(f.Path, f.Digest.String())
	}
	return t.write(w)
}
