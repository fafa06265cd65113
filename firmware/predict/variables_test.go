package predict

import (
	"bytes"
	"testing"

	"github.com/probity-attest/probity/firmware/image/imagetest"
)

func TestParseVariables(t *testing.T) {
	pk := func(data string) imagetest.Variable {
		return imagetest.Variable{GUID: guidGlobal, Name: "PK", Data: []byte(data)}
	}
	// state sets the state of the n-th variable of a store; each begins with 55aa.
	state := func(b []byte, n int, s byte) []byte {
		out, at := bytes.Clone(b), 0
		for range n + 1 {
			at += bytes.Index(out[at:], []byte{0xaa, 0x55, 0x3f, 0}) + 2
		}
		out[at] = s
		return out
	}
	two := store(t, pk("old"), pk("new"))
	for name, c := range map[string]struct {
		store []byte
		want  string // PK; "-": an error
	}{
		"one":                        {store(t, pk("new")), "new"},
		"deleted":                    {state(two, 0, 0x3c), "new"},
		"being replaced":             {state(two, 0, stateReplaced), "new"},
		"replaced behind":            {state(two, 1, stateReplaced), "old"},
		"not replaced to the end":    {state(state(two, 1, 0x7f), 0, stateReplaced), "old"},
		"twice":                      {two, "-"},
		"another vendor's":           {store(t, imagetest.Variable{GUID: owner, Name: "PK", Data: []byte("x")}), ""},
		"empty":                      {store(t), ""},
		"an empty image":             {nil, "-"},
		"cut off":                    {two[:300], "-"},
		"of zeros":                   {erased, ""},
		"a second store behind":      {append(bytes.Clone(two), two...), "-"},
		"another kind of image":      {imagetest.Program(0x8664, 10, nil), "-"},
		"erased flash":               {bytes.Repeat([]byte{0xff}, 100), ""},
		"one byte that is not blank": {append(bytes.Repeat([]byte{0xff}, 100), 1), "-"},
	} {
		v, err := parseVariables(c.store)
		if got := string(v.get(guidGlobal, "PK")); err != nil != (c.want == "-") || err == nil && got != c.want {
			t.Errorf("%s: parseVariables() = PK %q, %v, want %q", name, got, err, c.want)
		}
		if err != nil && v != nil {
			t.Errorf("%s: parseVariables() = %v with the error %v", name, v, err)
		}
	}
}

func TestParseDatabase(t *testing.T) {
	one := signatureList(guidCertX509, owner, []byte("certificate"))
	set := func(at int, b byte) []byte {
		out := bytes.Clone(one)
		out[at] = b
		return out
	}
	for name, c := range map[string]struct {
		db   []byte
		want int // -1: an error
	}{
		"empty":               {nil, 0},
		"one":                 {one, 1},
		"two":                 {append(bytes.Clone(one), one...), 2},
		"cut off":             {one[:20], -1},
		"list longer":         {set(16, 200), -1},
		"list without header": {set(16, 4), -1},
		"header too large":    {set(20, 100), -1},
		"size 0":              {set(24, 0), -1},
		"does not fill":       {set(24, 20), -1},
		"too large":           {make([]byte, MaxDatabase+1), -1},
	} {
		s, err := parseDatabase(c.db)
		if err != nil != (c.want < 0) || err == nil && len(s) != c.want || err != nil && s != nil {
			t.Errorf("%s: parseDatabase() = %d signatures, %v, want %d", name, len(s), err, c.want)
		}
	}
}
