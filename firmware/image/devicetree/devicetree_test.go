package devicetree_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/image/devicetree"
	"github.com/probity-attest/probity/firmware/image/imagetest"
)

const structure = 56 // where imagetest begins the structure block

func board() []byte {
	return imagetest.DeviceTree(imagetest.Node{
		Properties: []imagetest.Property{
			imagetest.Text("model", "Board"), imagetest.Text("compatible", "maker,board\x00maker,soc"), {Name: "#address-cells", Value: []byte{0, 0, 0, 2}},
		},
		Children: []imagetest.Node{
			{Name: "chosen", Properties: []imagetest.Property{imagetest.Text("bootargs", "quiet")}},
			{Name: "soc", Children: []imagetest.Node{{Name: "uart@1000", Properties: []imagetest.Property{{Name: "reg", Value: []byte("12345")}}}}},
		},
	})
}

// assemble makes a blob of these tokens with the strings "a" and "reg".
func assemble(tokens ...uint32) []byte {
	b := make([]byte, structure)
	for _, v := range tokens {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	texts := []byte("a\x00reg\x00")
	for i, v := range []int{devicetree.Magic, len(b) + len(texts), structure, len(b), 40, 17, 16, 0, len(texts), 4 * len(tokens)} {
		binary.BigEndian.PutUint32(b[4*i:], uint32(v))
	}
	return append(b, texts...)
}

func TestParse(t *testing.T) {
	b := append(board(), "behind the blob"...)
	root, err := devicetree.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := root.Text("model"); got != "Board" {
		t.Errorf("model = %q", got)
	}
	if got := root.Text("compatible"); got != "maker,board, maker,soc" {
		t.Errorf("compatible = %q", got)
	}
	if v, ok := root.Number("#address-cells"); v != 2 || !ok {
		t.Errorf("#address-cells = %d, %t", v, ok)
	}
	if v, ok := root.Number("model"); v != 0 || ok {
		t.Errorf("model as a number = %d, %t", v, ok)
	}
	uart := root.Child("soc").Child("uart@1000")
	reg := uart.Property("reg")
	if reg == nil || string(reg.Value) != "12345" || !bytes.Equal(b[reg.Offset:reg.Offset+5], reg.Value) {
		t.Errorf("reg = %+v", reg)
	}
	if uart.Offset <= root.Offset || uart.End >= root.End || binary.BigEndian.Uint32(b[uart.Offset:]) != 1 || binary.BigEndian.Uint32(b[uart.End-4:]) != 2 {
		t.Errorf("uart from %#x to %#x, root from %#x to %#x", uart.Offset, uart.End, root.Offset, root.End)
	}
	if root.Child("none").Child("none").Property("none") != nil || uart.Text("none") != "" || uart.Text("reg") != "12345" {
		t.Error("what is not there, or is no text, must be empty")
	}
	var names []string
	for _, c := range root.Children {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"chosen", "soc"}, names); diff != "" {
		t.Errorf("children (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	put := func(at int, v uint32) []byte {
		b := board()
		binary.BigEndian.PutUint32(b[at:], v)
		return b
	}
	deep := make([]uint32, 0, 200)
	for range devicetree.MaxDepth + 1 {
		deep = append(deep, 1, 0)
	}
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"another magic", put(0, 1), devicetree.ErrNotBlob.Error()},
		{"version of the future", put(24, 18), devicetree.ErrNotBlob.Error()},
		{"too short for its size", put(4, 1<<20), "cut off"},
		{"structure not aligned", put(8, 57), "multiple of 4"},
		{"structure outside", put(8, 1<<30), "structure block"},
		{"structure over the end", put(36, 1<<31), "exceeds the blob"},
		{"strings outside", put(12, 1<<30), "strings block"},
		{"strings over the end", put(32, 1<<31), "exceeds the blob"},
		{"no tokens", assemble(), "without its end token"},
		{"no root", assemble(9), "0 open nodes"},
		{"not closed", assemble(1, 0, 9), "1 open nodes"},
		{"closed twice", assemble(1, 0, 2, 2, 9), "outside of the root"},
		{"two roots", assemble(1, 0, 2, 1, 0, 2, 9), "outside of the root"},
		{"property before the root", assemble(3, 0, 0, 9), "property outside"},
		{"property behind the root", assemble(1, 0, 2, 3, 0, 0, 9), "outside of the root"},
		{"unknown token", assemble(1, 0, 7), "token 0x7"},
		{"property over the end", assemble(1, 0, 3, 1<<31, 0), "cut off"},
		{"name of a property outside", assemble(1, 0, 3, 0, 1<<31), "name at"},
		{"name of a property without end", assemble(1, 0, 3, 0, 6, 2, 9), "name at"},
		{"name of a node without end", assemble(1, 0x61616161), "does not end"},
		{"too deep", assemble(deep...), "deep"},
	} {
		root, err := devicetree.Parse(c.b)
		if root != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
	if root, err := devicetree.Parse(assemble(4, 1, 0, 4, 3, 0, 2, 2, 4, 9)); err != nil || root.Properties[0].Name != "reg" {
		t.Errorf("no-operation tokens: %+v, %v", root, err)
	}
}

func TestParseCut(t *testing.T) {
	b := board()
	for n := range len(b) {
		cut := bytes.Clone(b[:n])
		if n >= 8 { // also where the header knows of the cut
			binary.BigEndian.PutUint32(cut[4:], uint32(n))
		}
		root, err := devicetree.Parse(cut)
		var e *devicetree.FormatError
		if root != nil || !errors.Is(err, devicetree.ErrNotBlob) && !errors.As(err, &e) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
}

// Many nodes and properties that share one long name must not take more memory than the limits allow.
func TestParseBounded(t *testing.T) {
	many := make([]uint32, 0, 3*300_000)
	many = append(many, 1, 0)
	for range 300_000 {
		many = append(many, 3, 0, 0)
	}
	b := assemble(append(many, 2, 9)...)
	binary.BigEndian.PutUint32(b[32:], 6+1<<20)
	b = append(b[:len(b)-6], bytes.Repeat([]byte("n"), 1<<20+6)...)
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)))
	nodes := append([]uint32{1, 0}, bytes32(70_000)...)
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"long shared name", b, "does not end within"},
		{"properties", assemble(append(many, 2, 9)...), "properties"},
		{"nodes", assemble(append(nodes, 2, 9)...), "nodes"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		root, err := devicetree.Parse(c.b)
		runtime.ReadMemStats(&after)
		if root != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 128<<20 {
			t.Errorf("%s: allocates %d bytes for a blob of %d", c.name, n, len(c.b))
		}
	}
}

// bytes32 returns n empty nodes.
func bytes32(n int) []uint32 {
	out := make([]uint32, 0, 3*n)
	for range n {
		out = append(out, 1, 0, 2)
	}
	return out
}

func FuzzParse(f *testing.F) {
	seeds := [][]byte{
		board(), assemble(1, 0, 2, 9), imagetest.FIT(false, imagetest.FITImage{Name: "kernel", Type: "kernel", Data: []byte("data")}),
		imagetest.FIT(true, imagetest.FITImage{Name: "kernel", Type: "kernel", Data: []byte("data")}),
	}
	for _, s := range seeds {
		f.Add(s)
		f.Add(s[:len(s)*2/3])
	}
	if len(seeds) < 4 {
		f.Fatalf("only %d seeds", len(seeds))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := devicetree.Parse(b)
		if err != nil {
			var e *devicetree.FormatError
			if root != nil || !errors.Is(err, devicetree.ErrNotBlob) && (!errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b)) {
				t.Fatalf("Parse = %v, %v", root, err)
			}
			return
		}
		size, ok := devicetree.Size(b)
		if !ok || size > len(b) {
			t.Fatalf("Size = %d, %t of %d bytes", size, ok, len(b))
		}
		checkNode(t, b[:size], root, 0, size)
	})
}

// checkNode checks that nodes and values lie inside each other.
func checkNode(t *testing.T, b []byte, n *devicetree.Node, start, end int) {
	if n.Offset < start || n.End > end || n.Offset >= n.End {
		t.Fatalf("node %q from %#x to %#x, want it between %#x and %#x", n.Name, n.Offset, n.End, start, end)
	}
	for _, p := range n.Properties {
		if p.Offset < n.Offset || p.Offset+len(p.Value) > n.End || !bytes.Equal(b[p.Offset:p.Offset+len(p.Value)], p.Value) {
			t.Fatalf("property %q at %#x", p.Name, p.Offset)
		}
		n.Text(p.Name)
	}
	for _, c := range n.Children {
		checkNode(t, b, c, n.Offset, n.End)
	}
}
