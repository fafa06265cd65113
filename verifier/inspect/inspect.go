// Package inspect explains stored evidence to people: which measurement fits which reference value, what the flash
// memory holds, how two reports differ, what happened over time, and what proves that a result is fresh.
//
// It takes evidence that was appraised before, together with what was concluded, and compares it once more with the
// reference values, by the functions of package appraise; it decides nothing. It is pure: everything that it needs is in
// its arguments. What it returns are documents of the API (package v1); texts of devices in them are escaped, see
// appraise.Printable. Limits are in limits.go: what exceeds them is left out, and counted.
package inspect

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/reference"
	"github.com/probity-attest/probity/verifier/result"
)

// Evidence is a report that was appraised, and the content that it named. Parts that were never stored are nil.
type Evidence struct {
	Seq      int64 // of the result
	Result   *result.Result
	Message  proto.Evidence
	Claims   *proto.Claims
	BootLog  []byte
	IMA      []byte // the entries that were appraised since the boot, in the kernel's binary format
	Flash    *proto.Flash
	Platform *proto.Platform
}

// Basis is what evidence is compared with.
type Basis struct {
	References *reference.Set
	Policy     *appraise.Policy
}

// view returns the reference values that counted when a result was made, as far as they are still known.
func (b Basis) view(r *result.Result) *reference.View {
	return b.References.For(r.Vendor, r.Model).At(r.At)
}

// known names a document, other than but, that has a digest; empty where there is none.
func (b Basis) known(digest []byte, but string) string {
	for _, name := range b.References.Knows(digest) {
		if name != but {
			return appraise.Printable(name)
		}
	}
	return ""
}

// quotedBank returns the PCR values of a result.
func quotedBank(r *result.Result) (*pcr.Bank, error) {
	alg, err := pcr.ParseAlgorithm(r.Bank)
	if err != nil {
		return nil, fmt.Errorf("stored result: %w", err)
	}
	bank := pcr.NewBank(alg)
	for name, value := range r.PCRs {
		i, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("stored result: PCR %q: %w", name, err)
		}
		v, err := hex.DecodeString(value)
		if err == nil {
			err = bank.Set(i, v)
		}
		if err != nil {
			return nil, fmt.Errorf("stored result: PCR %d: %w", i, err)
		}
	}
	return bank, nil
}

// weight orders standings, what matters most first.
var weight = []v1.Standing{
	v1.Denied, v1.Changed, v1.Unknown, v1.Missing, v1.Unreadable, v1.Uncovered, v1.Excluded, v1.Matched, v1.Explained,
}

// worst returns the one of two standings that matters more.
func worst(a, b v1.Standing) v1.Standing {
	if rank(b) < rank(a) {
		return b
	}
	return a
}

func rank(s v1.Standing) int {
	if i := slices.Index(weight, s); i >= 0 {
		return i
	}
	return len(weight)
}

// isReset reports whether a PCR has the value of a machine that measured nothing into it (PC Client PTP 1.06, section
// 4.6.2).
func isReset(i int, value []byte) bool {
	want := byte(0)
	if i >= 17 && i <= 22 {
		want = 0xff
	}
	return !slices.ContainsFunc(value, func(b byte) bool { return b != want })
}

// clip shortens a text that is safe to show.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "..."
}
