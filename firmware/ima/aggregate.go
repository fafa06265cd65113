package ima

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/firmware/pcr"
)

// BootAggregatePath is the path of the first entry of a boot, which is no file.
const BootAggregatePath = "boot_aggregate"

// BootAggregate returns the digest in hash alg over the boot PCRs of a bank, as the kernel lists it
// (ima_calc_boot_aggregate_tfm): PCRs 0 to 9 since Linux 5.8, but 0 to 7 of a SHA-1 bank. It returns nil where the bank
// lacks one of them or the hash has no implementation.
func BootAggregate(bank *pcr.Bank, alg pcr.Algorithm) []byte {
	last := 9
	if bank.Algorithm() == pcr.SHA1 {
		last = 7
	}
	return aggregate(bank, alg, last)
}

func aggregate(bank *pcr.Bank, alg pcr.Algorithm, last int) []byte {
	if alg.Hash() == 0 {
		return nil
	}
	d, err := bank.Composite(1<<(last+1)-1, alg.Hash())
	if err != nil {
		return nil
	}
	return d
}

// ErrUndecided is returned where quoted values cannot tell whether a boot_aggregate is right.
var ErrUndecided = errors.New("boot_aggregate cannot be checked")

// CheckBootAggregate reports whether a boot_aggregate entry is the digest over the boot PCRs in bank. Kernels between the
// change of hash and that of the PCRs used 0 to 7 in every bank, so both fit. It fails with ErrUndecided where the entry
// is no boot_aggregate, uses another hash than the bank, or bank lacks one of PCRs 0 to 9.
func CheckBootAggregate(e Entry, bank *pcr.Bank) (bool, error) {
	f, ok := e.File()
	if !ok || f.Path != BootAggregatePath || e.Violation() {
		return false, fmt.Errorf("%w: not a boot_aggregate entry", ErrUndecided)
	}
	if f.Algorithm != bank.Algorithm().String() {
		return false, fmt.Errorf("%w: it is over the %s bank, the values are of %s", ErrUndecided, f.Algorithm, bank.Algorithm())
	}
	want := BootAggregate(bank, bank.Algorithm())
	if want == nil {
		return false, fmt.Errorf("%w: want values of PCRs 0-9, have %s", ErrUndecided, bank.Present())
	}
	return bytes.Equal(f.Digest, want) || bytes.Equal(f.Digest, aggregate(bank, bank.Algorithm(), 7)), nil
}
