package link

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/probity-attest/probity/proto"
)

// chunks cuts content as a device does.
func chunks(content []byte) []*proto.Chunk {
	var out []*proto.Chunk
	for at := 0; at < len(content); at += proto.ChunkSize {
		out = append(out, &proto.Chunk{
			Digest: proto.Sum(content), Size: uint32(len(content)), Offset: uint32(at),
			Data: content[at:min(at+proto.ChunkSize, len(content))],
		})
	}
	return out
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// check compares the books with what is held.
func (a *assembly) check(t *testing.T) {
	t.Helper()
	all := 0
	for name, e := range a.devices {
		n := 0
		for _, data := range e.contents {
			n += len(data)
		}
		if n != e.held || len(e.contents) > maxWanted {
			t.Errorf("device %s: %d contents with %d bytes, books say %d", name, len(e.contents), n, e.held)
		}
		all += n
	}
	if all != a.held || a.held > a.limit {
		t.Errorf("%d bytes held, books say %d, limit %d", all, a.held, a.limit)
	}
	if len(a.devices) > maxDevices {
		t.Errorf("%d devices expected, at most %d allowed", len(a.devices), maxDevices)
	}
}

func (a *assembly) mustAdd(t *testing.T, device string, c *proto.Chunk) []byte {
	t.Helper()
	b, err := a.add(device, c)
	if err != nil {
		t.Fatalf("add(%s, %d bytes at %d) = %v", device, len(c.Data), c.Offset, err)
	}
	a.check(t)
	return b
}

func (a *assembly) mustRefuse(t *testing.T, device string, c *proto.Chunk) {
	t.Helper()
	if b, err := a.add(device, c); err == nil || b != nil {
		t.Errorf("add(%s, %d bytes at %d) = %d bytes, %v, want an error and nothing", device, len(c.Data), c.Offset, len(b), err)
	}
	a.check(t)
}

func TestAssembly(t *testing.T) {
	a := newAssembly(maxAssembly)
	content, other := random(3*proto.ChunkSize+5), random(10)
	parts := chunks(content)
	a.mustRefuse(t, "d", parts[0]) // nothing was asked for
	a.want("d", []proto.Digest{proto.Sum(content), proto.Sum(other)})
	a.mustRefuse(t, "e", parts[0]) // asked for, but of another device
	a.mustRefuse(t, "d", chunks(random(5))[0])
	a.mustRefuse(t, "d", parts[1]) // a gap at the beginning
	a.mustAdd(t, "d", parts[0])
	a.mustRefuse(t, "d", parts[2]) // a gap
	a.mustAdd(t, "d", parts[1])
	a.mustRefuse(t, "d", parts[1]) // twice
	if got := a.mustAdd(t, "d", chunks(other)[0]); !bytes.Equal(got, other) {
		t.Error("the other content did not come between")
	}
	a.mustAdd(t, "d", parts[0]) // the device begins again
	a.mustAdd(t, "d", parts[1])
	a.want("d", []proto.Digest{proto.Sum(content)}) // asked for again while it is sent: nothing is lost
	a.mustAdd(t, "d", parts[2])
	if got := a.mustAdd(t, "d", parts[3]); !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, want the content", len(got))
	}
	a.mustRefuse(t, "d", parts[0]) // it is complete: not wanted any more
	if a.held != 0 || len(a.devices) != 0 {
		t.Errorf("%d bytes of %d devices are still held", a.held, len(a.devices))
	}
}

func TestAssemblyWrongContent(t *testing.T) {
	a := newAssembly(maxAssembly)
	content := random(2 * proto.ChunkSize)
	good := chunks(content)
	for name, bad := range map[string][]*proto.Chunk{
		"other bytes":          {good[0], {Digest: good[1].Digest, Size: good[1].Size, Offset: good[1].Offset, Data: random(proto.ChunkSize)}},
		"cut short":            {{Digest: good[0].Digest, Size: 4, Data: content[:4]}},
		"size shrinks midway":  {good[0], {Digest: good[1].Digest, Size: proto.ChunkSize + 1, Offset: proto.ChunkSize, Data: content[:1]}},
		"smaller than what is": {good[0], {Digest: good[1].Digest, Size: 1, Offset: proto.ChunkSize, Data: content[:1]}},
	} {
		a.want("d", []proto.Digest{proto.Sum(content)})
		for _, c := range bad[:len(bad)-1] {
			a.mustAdd(t, "d", c)
		}
		a.mustRefuse(t, "d", bad[len(bad)-1])
		if a.held != 0 {
			t.Errorf("%s: %d bytes are still held", name, a.held)
		}
		a.mustRefuse(t, "d", good[0]) // it has to be asked for again
	}
}

func TestAssemblyMemory(t *testing.T) {
	t.Run("grows with what came", func(t *testing.T) {
		a := newAssembly(maxAssembly)
		d := proto.Sum([]byte("never"))
		a.want("d", []proto.Digest{d})
		a.mustAdd(t, "d", &proto.Chunk{Digest: d, Size: proto.MaxIMASegment, Data: []byte{1}})
		if got := cap(a.devices["d"].contents[d]); got > 64 {
			t.Errorf("%d bytes are kept for 1 that came of %d announced", got, proto.MaxIMASegment)
		}
	})
	t.Run("wanted contents are bounded", func(t *testing.T) {
		a := newAssembly(maxAssembly)
		var many []proto.Digest
		for i := range 3 * maxWanted {
			many = append(many, proto.Sum([]byte{byte(i)}))
		}
		a.want("d", many)
		a.check(t)
	})
	t.Run("devices are bounded", func(t *testing.T) {
		a := newAssembly(maxAssembly)
		for i := range maxDevices + 100 {
			a.want(strconv.Itoa(i), []proto.Digest{{1}})
		}
		a.check(t)
		if _, ok := a.devices[strconv.Itoa(maxDevices+99)]; !ok {
			t.Error("the newest device is not expected")
		}
	})
	// ATTACKS row 20: devices that send much and never end do not keep others from being heard.
	t.Run("greedy devices lose", func(t *testing.T) {
		a := newAssembly(10 * proto.ChunkSize)
		endless := chunks(random(20 * proto.ChunkSize))
		for _, device := range []string{"greedy", "greedier"} {
			a.want(device, []proto.Digest{endless[0].Digest})
		}
		for i := range 4 {
			a.mustAdd(t, "greedy", endless[i])
			a.mustAdd(t, "greedier", endless[i])
		}
		a.mustAdd(t, "greedier", endless[4])
		content := random(3 * proto.ChunkSize)
		a.want("modest", []proto.Digest{proto.Sum(content)})
		var got []byte
		for _, c := range chunks(content) {
			got = a.mustAdd(t, "modest", c)
		}
		if !bytes.Equal(got, content) {
			t.Error("a modest device did not get its content through")
		}
		a.mustRefuse(t, "greedier", endless[5]) // it was dropped
		a.mustAdd(t, "greedy", endless[4])
	})
	t.Run("the greediest cannot drop others", func(t *testing.T) {
		a := newAssembly(10 * proto.ChunkSize)
		part := chunks(random(20 * proto.ChunkSize))
		a.want("modest", []proto.Digest{part[0].Digest})
		a.want("greedy", []proto.Digest{part[0].Digest})
		a.mustAdd(t, "modest", part[0])
		for i := range 9 {
			a.mustAdd(t, "greedy", part[i])
		}
		a.mustRefuse(t, "greedy", part[9])
		a.mustAdd(t, "modest", part[1])
	})
}

// FuzzAssembly lets two devices send chunks as the bytes say: in any order, with any size and offset.
func FuzzAssembly(f *testing.F) {
	contents := [][]byte{[]byte("boot log"), []byte("platform description"), {0}}
	op := func(device, what, content, offset, size byte, data string) []byte {
		return append([]byte{device, what, content, offset, size, byte(len(data))}, data...)
	}
	seeds := [][]byte{
		append(op(0, 0, 0, 0, 0, ""), op(0, 1, 0, 0, 8, "boot log")...),
		append(append(op(1, 0, 1, 0, 0, ""), op(1, 1, 1, 0, 20, "platform ")...), op(1, 1, 1, 9, 20, "description")...),
		append(append(op(0, 0, 2, 0, 0, ""), op(0, 1, 2, 1, 2, "\x00")...), op(1, 1, 2, 0, 1, "\x00")...),
	}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		a := newAssembly(48)
		for len(ops) >= 6 {
			device, what, content := strconv.Itoa(int(ops[0]%2)), ops[1]%2, contents[int(ops[2])%len(contents)]
			c := &proto.Chunk{Digest: proto.Sum(content), Offset: uint32(ops[3]), Size: uint32(ops[4])}
			n := min(int(ops[5]), len(ops)-6)
			c.Data, ops = ops[6:6+n], ops[6+n:]
			if what == 0 {
				a.want(device, []proto.Digest{c.Digest})
				a.check(t)
				continue
			}
			if b, err := proto.Encode(c); err != nil || proto.Decode(b, c) != nil {
				continue // no such chunk gets here
			}
			expected := a.devices[device] != nil
			got, err := a.add(device, c)
			a.check(t)
			if err != nil && got != nil {
				t.Fatalf("content with the error %v", err)
			}
			if got != nil && (!bytes.Equal(got, content) || !expected) {
				t.Fatalf("got %q, which was not asked for", got)
			}
		}
	})
}
