package imagetest

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
)

// Node is a node of a devicetree that DeviceTree builds.
type Node struct {
	Name       string
	Properties []Property
	Children   []Node
}

// Property is a property of a Node. Text values need their trailing NUL.
type Property struct {
	Name  string
	Value []byte
}

// Text makes a property of text.
func Text(name, value string) Property { return Property{name, append([]byte(value), 0)} }

// DeviceTree builds a flattened devicetree blob, version 17.
func DeviceTree(root Node) []byte {
	var w blobWriter
	w.node(root)
	w.word(9)
	const structure = 40 + 16 // behind the header and an empty list of reserved memory
	b := make([]byte, structure, structure+len(w.tokens)+len(w.texts))
	for i, v := range []int{
		0xd00dfeed, structure + len(w.tokens) + len(w.texts), structure, structure + len(w.tokens), 40, 17, 16, 0, len(w.texts),
		len(w.tokens),
	} {
		binary.BigEndian.PutUint32(b[4*i:], uint32(v))
	}
	return append(append(b, w.tokens...), w.texts...)
}

type blobWriter struct{ tokens, texts []byte }

func (w *blobWriter) word(v int) { w.tokens = binary.BigEndian.AppendUint32(w.tokens, uint32(v)) }

func (w *blobWriter) bytes(b []byte) {
	w.tokens = append(w.tokens, b...)
	w.tokens = append(w.tokens, make([]byte, -len(w.tokens)&3)...)
}

func (w *blobWriter) node(n Node) {
	w.word(1)
	w.bytes(append([]byte(n.Name), 0))
	for _, p := range n.Properties {
		w.word(3)
		w.word(len(p.Value))
		w.word(len(w.texts))
		w.texts = append(append(w.texts, p.Name...), 0)
		w.bytes(p.Value)
	}
	for _, c := range n.Children {
		w.node(c)
	}
	w.word(2)
}

// FITImage is one image of a FIT.
type FITImage struct {
	Name, Type string
	Data       []byte
}

// FIT builds a U-Boot FIT image with a SHA-256 hash of every image and one configuration, "conf-1", that boots the
// first image as the kernel and, if there is one, the second as the devicetree. With external, the data stand behind
// the blob.
func FIT(external bool, images ...FITImage) []byte {
	var nodes []Node
	var data []byte
	for _, m := range images {
		sum := sha256.Sum256(m.Data)
		n := Node{
			Name:       m.Name,
			Properties: []Property{Text("description", m.Name), Text("type", m.Type), Text("arch", "arm64")},
			Children:   []Node{{Name: "hash-1", Properties: []Property{Text("algo", "sha256"), {"value", sum[:]}}}},
		}
		if external {
			n.Properties = append(n.Properties, Property{"data-offset", word(len(data))}, Property{"data-size", word(len(m.Data))})
			data = append(data, m.Data...)
			data = append(data, make([]byte, -len(data)&3)...)
		} else {
			n.Properties = append(n.Properties, Property{"data", m.Data})
		}
		nodes = append(nodes, n)
	}
	boot := Node{Name: "conf-1", Properties: []Property{Text("kernel", images[0].Name)}}
	if len(images) > 1 {
		boot.Properties = append(boot.Properties, Text("fdt", images[1].Name))
	}
	b := DeviceTree(Node{
		Properties: []Property{Text("description", "Probity's test image")},
		Children: []Node{
			{Name: "images", Children: nodes},
			{Name: "configurations", Properties: []Property{Text("default", "conf-1")}, Children: []Node{boot}},
		},
	})
	if external {
		b = append(b, make([]byte, -len(b)&3)...)
	}
	return append(b, data...)
}

func word(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

// UImage builds a legacy U-Boot image of a type (2 is a kernel).
func UImage(name string, kind byte, data []byte) []byte {
	h := make([]byte, 64)
	binary.BigEndian.PutUint32(h, 0x27051956)
	binary.BigEndian.PutUint32(h[12:], uint32(len(data)))
	binary.BigEndian.PutUint32(h[16:], 0x80008000)
	binary.BigEndian.PutUint32(h[20:], 0x80008000)
	binary.BigEndian.PutUint32(h[24:], crc32.ChecksumIEEE(data))
	copy(h[28:32], []byte{5, 2, kind, 0})
	copy(h[32:63], name)
	binary.BigEndian.PutUint32(h[4:], crc32.ChecksumIEEE(h))
	return append(h, data...)
}
