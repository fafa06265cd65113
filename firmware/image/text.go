package image

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// hexRanges returns the first ranges in which a and b differ. Ranges that less than eight equal bytes separate count as
// one. What one of them has beyond the end of the other is the last range.
func hexRanges(a, b []byte) []HexRange {
	const apart = 8
	var out []HexRange
	n := min(len(a), len(b))
	for i := 0; i < n && len(out) < MaxHexRanges; i++ {
		if a[i] == b[i] {
			continue
		}
		end := i + 1
		for j := end; j < n && j < end+apart; j++ {
			if a[j] != b[j] {
				end = j + 1
			}
		}
		out = append(out, hexRange(a[:n], b[:n], i, end))
		i = end
	}
	if len(a) != len(b) && len(out) < MaxHexRanges {
		out = append(out, hexRange(a, b, n, max(len(a), len(b))))
	}
	return out
}

func hexRange(a, b []byte, start, end int) HexRange {
	part := func(x []byte) string {
		from := min(start, len(x))
		return hex.EncodeToString(x[from:min(end, from+MaxHexBytes, len(x))])
	}
	return HexRange{Offset: start, Length: end - start, Old: part(a), New: part(b)}
}

// String describes the change in one line, without the hexadecimal ranges.
func (c *Change) String() string {
	var b strings.Builder
	b.WriteString(string(c.Op) + " " + (&Part{Kind: c.Kind, Type: c.Type, Name: c.Name, GUID: c.GUID}).Label())
	if c.Piece != "" {
		b.WriteString(": " + c.Piece)
	}
	switch {
	case c.Old != nil && c.New != nil && c.Old.Place != c.New.Place:
		fmt.Fprintf(&b, " from %s to %s", c.Old.Place, c.New.Place)
	case c.New != nil:
		b.WriteString(" at " + c.New.Place)
	case c.Old != nil:
		b.WriteString(" at " + c.Old.Place)
	}
	switch {
	case c.Old != nil && c.New != nil && c.Old.Length != c.New.Length:
		fmt.Fprintf(&b, ", %d instead of %d bytes", c.New.Length, c.Old.Length)
	case c.New != nil:
		fmt.Fprintf(&b, ", %d bytes", c.New.Length)
	case c.Old != nil:
		fmt.Fprintf(&b, ", %d bytes", c.Old.Length)
	}
	if len(c.In) > 1 {
		b.WriteString(", in " + c.In[len(c.In)-1])
	}
	if c.Detail != "" {
		b.WriteString(" (" + c.Detail + ")")
	}
	return b.String()
}
