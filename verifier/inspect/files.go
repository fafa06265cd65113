package inspect

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/firmware/pcr"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
)

// Violations is the key under which Files counts entries of files that changed while they were measured.
const Violations = "violations"

// Files explains the IMA list, grouped by file: those that weigh first, then in the order of measurement. All of them
// are returned; callers page. The error is about a result that is stored in another form than results have.
func Files(e *Evidence, b Basis) (v1.Files, error) {
	r := e.Result
	out := v1.Files{Result: e.Seq, Entries: r.IMAEntries, Counts: map[string]int{}, Files: []v1.File{}}
	if r.Bank == "" {
		out.NoList = "the device has no TPM: nothing vouches for what it runs"
		return out, nil
	}
	if len(e.IMA) == 0 {
		out.NoList = noList(e)
		return out, nil
	}
	bank, err := quotedBank(r)
	if err != nil {
		return out, err
	}
	x := &files{basis: b, view: b.view(r), bank: bank, at: make(map[string]int)}
	selected := pcr.NewBank(bank.Algorithm())
	for _, i := range (bank.Present() & b.Policy.BootPCRs()).Indices() {
		if err := selected.Set(i, bank.Value(i)); err != nil {
			return out, err
		}
	}
	x.documents = appraise.ExplainBoot(selected, e.BootLog, e.Claims.BootLog.Unavailable, x.view, b.Policy).Files
	s := ima.NewScanner(e.IMA)
	for s.Scan() {
		x.entry(s.Entry())
	}
	if err := s.Err(); err != nil {
		return out, fmt.Errorf("stored IMA list: %w", err)
	}
	for i := range x.list {
		f := &x.list[i]
		out.Counts[string(f.Standing)]++
		out.Counts[Violations] += f.Violations
	}
	slices.SortStableFunc(x.list, func(a, b v1.File) int { return cmp.Compare(fileRank(&a), fileRank(&b)) })
	out.Files = x.list
	return out, nil
}

// noList says why there is no list.
func noList(e *Evidence) string {
	for _, f := range e.Result.Findings {
		switch f.Code {
		case "ima-unavailable", "ima-mismatch", "ima-unbound":
			return f.Line()
		}
	}
	if un := e.Claims.IMA.Unavailable; un != nil {
		return appraise.Printable(un.Error())
	}
	return "the device did not send one"
}

// fileRank puts what weighs first: violations count as unknown.
func fileRank(f *v1.File) int {
	if f.Violations > 0 {
		return min(rank(f.Standing), rank(v1.Unknown))
	}
	return rank(f.Standing)
}

// files groups the entries of a list.
type files struct {
	basis     Basis
	view      *reference.View
	bank      *pcr.Bank
	documents []*reference.Compiled
	list      []v1.File
	at        map[string]int // in list, by path
}

func (x *files) entry(e ima.Entry) {
	file, ok := e.File()
	if !ok {
		file = ima.File{Path: "(unreadable entry of template " + e.Template + ")", Digest: e.TemplateDigest, Algorithm: "sha1"}
	}
	i, known := x.at[file.Path]
	if !known {
		i = len(x.list)
		x.at[file.Path] = i
		x.list = append(x.list, v1.File{Path: appraise.Printable(file.Path), Digests: []string{}, Standing: v1.Explained})
	}
	f := &x.list[i]
	f.Entries++
	if e.Violation() {
		f.Violations++
		if f.Entries == f.Violations { // nothing else is known of it
			f.Standing = v1.Uncovered
		}
		return
	}
	if text := file.Algorithm + ":" + hex.EncodeToString(file.Digest); len(f.Digests) < maxDigests && !slices.Contains(f.Digests, text) {
		f.Digests = append(f.Digests, appraise.Printable(text))
	}
	standing, document, expected := x.judge(e, &file)
	if f.Entries == f.Violations+1 || rank(standing) < rank(f.Standing) { // violations before it say nothing of it
		f.Standing, f.Reference, f.Expected = standing, document, expected
	}
}

// judge compares one entry.
func (x *files) judge(e ima.Entry, file *ima.File) (s v1.Standing, document, expected string) {
	if file.Path == ima.BootAggregatePath {
		switch fits, err := ima.CheckBootAggregate(e, x.bank); {
		case err != nil: // an aggregate in another hash than the bank's
			return v1.Uncovered, "", ""
		case fits:
			return v1.Explained, "", ""
		}
		return v1.Unknown, "", hex.EncodeToString(ima.BootAggregate(x.bank, x.bank.Algorithm()))
	}
	if advisory, _, denied := x.view.Denied(manifest.DeniedFile, file.Digest); denied {
		return v1.Denied, appraise.Printable(advisory), ""
	}
	if len(x.documents) == 0 {
		return v1.Uncovered, x.basis.known(file.Digest, ""), ""
	}
	var best reference.Match
	for _, c := range x.documents {
		switch m, other := c.File(file.Path, file.Digest); {
		case m == reference.Same:
			return v1.Matched, c.Name, ""
		case best == reference.Unknown && m != reference.Unknown:
			best, document, expected = m, c.Name, appraise.Printable(other)
		}
	}
	if document == "" {
		document = x.basis.known(file.Digest, "")
	}
	return v1.Unknown, document, expected
}
