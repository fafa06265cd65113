package flash

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// units are the units of a number of bytes. Others are refused: a KB is 1000 bytes to some and 1024 to others.
var units = []struct {
	name  string
	bytes uint64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

// ParseBytes reads a number of bytes: decimal, decimal with the unit KiB, MiB or GiB, or hexadecimal with 0x. Leading
// zeros are refused, since some tools read them as octal, and so are signs, fractions and underscores.
func ParseBytes(text string) (uint64, error) {
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 64)
		if err != nil || strings.HasPrefix(hex, "+") {
			return 0, fmt.Errorf("%q: want up to 16 hexadecimal digits after 0x, without a unit", clip(text))
		}
		return n, nil
	}
	digits, unit := text, uint64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			digits, unit = strings.TrimSuffix(rest, " "), u.bytes
		}
	}
	if !canonical(digits) {
		return 0, fmt.Errorf("%q: want bytes such as 4096, 0x1000, 64KiB, 16MiB or 1GiB", clip(text))
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q: more than 64 bits", clip(text))
	}
	high, low := bits.Mul64(n, unit)
	if high != 0 {
		return 0, fmt.Errorf("%q: more than 64 bits", clip(text))
	}
	return low, nil
}

// didYouMean names the known key that is nearest to a mistyped one, for a message.
func didYouMean(name string, known []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := edits(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ": known are " + strings.Join(known, ", ")
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// edits returns the Levenshtein distance of a and b in bytes.
func edits(a, b string) int {
	if len(a) > MaxName {
		return MaxName
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
