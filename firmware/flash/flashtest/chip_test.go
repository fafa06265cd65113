package flashtest

import (
	"bytes"
	"errors"
	"testing"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
)

func connect(t *testing.T, c *Chip) spi.Conn {
	t.Helper()
	p := c.Port()
	conn, err := p.Connect(physic.MegaHertz, spi.Mode0, 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// ask sends one command and returns n bytes of answer.
func ask(t *testing.T, c spi.Conn, n int, command ...byte) []byte {
	t.Helper()
	answer := make([]byte, n)
	if err := c.TxPackets([]spi.Packet{{W: command, KeepCS: true}, {R: answer}}); err != nil {
		t.Fatal(err)
	}
	return answer
}

func counting(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func TestChip(t *testing.T) {
	small, large := NewChip(counting(64<<10)), NewChip(counting(32<<20))
	s, l := connect(t, small), connect(t, large)
	for name, c := range map[string]struct {
		got, want []byte
	}{
		"id":                  {ask(t, s, 3, 0x9f), []byte{0xef, 0x40, 16}},
		"SFDP":                {ask(t, s, 4, 0x5a, 0, 0, 0, 0), []byte("SFDP")},
		"SFDP from within":    {ask(t, s, 2, 0x5a, 0, 0, 2, 0), []byte("DP")},
		"SFDP beyond its end": {ask(t, s, 2, 0x5a, 0, 1, 0, 0), []byte{0xff, 0xff}},
		"READ":                {ask(t, s, 4, 0x03, 0, 0x12, 0x34), small.Data[0x1234:0x1238]},
		"READ over the end":   {ask(t, s, 4, 0x03, 0, 0xff, 0xfe), append(bytes.Clone(small.Data[0xfffe:]), small.Data[:2]...)},
		"READ beyond the end": {ask(t, s, 2, 0x03, 3, 0, 5), small.Data[5:7]},
		"READ4 of a large":    {ask(t, l, 4, 0x13, 1, 2, 3, 4), large.Data[0x1020304:0x1020308]},
		"READ4 of a small":    {ask(t, s, 2, 0x13, 0, 0, 0, 0), []byte{0xff, 0xff}},
		"READ of a large":     {ask(t, l, 2, 0x03, 2, 3, 4), large.Data[0x020304:0x020306]},
		"erase":               {ask(t, s, 2, 0xc7), []byte{0xff, 0xff}},
		"unfinished address":  {ask(t, s, 1, 0x03, 0), []byte{0xff}},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s = % x, want % x", name, c.got, c.want)
		}
	}
	if !bytes.Equal(small.Data, counting(64<<10)) {
		t.Error("the content changed")
	}
	if got, want := small.Commands(), []byte{0x03, 0x13, 0x5a, 0x9f, 0xc7}; !bytes.Equal(got, want) {
		t.Errorf("Commands() = % x, want % x", got, want)
	}
	// In 4-byte mode READ takes one more byte.
	large.FourByteMode = true
	if got, want := ask(t, l, 2, 0x03, 1, 2, 3, 4), large.Data[0x1020304:0x1020306]; !bytes.Equal(got, want) {
		t.Errorf("READ in 4-byte mode = % x, want % x", got, want)
	}
	// One full-duplex packet answers after the address.
	b := []byte{0x03, 0, 0, 7, 0, 0}
	if err := s.Tx(b, b); err != nil || !bytes.Equal(b, append([]byte{0xff, 0xff, 0xff, 0xff}, small.Data[7:9]...)) {
		t.Errorf("Tx = % x, %v", b, err)
	}
	// Letting go of the chip ends the command.
	answer := make([]byte, 2)
	if err := s.TxPackets([]spi.Packet{{W: []byte{0x03, 0, 0, 7}}, {R: answer}}); err != nil || !bytes.Equal(answer, []byte{0xff, 0xff}) {
		t.Errorf("reading after the chip was let go = % x, %v, want ff ff", answer, err)
	}
}

func TestChipRefuses(t *testing.T) {
	c := NewChip(counting(64 << 10))
	c.MaxTransfer = 8
	conn := connect(t, c)
	if err := conn.Tx(make([]byte, 9), nil); !errors.Is(err, errSize) {
		t.Errorf("Tx of 9 bytes = %v, want errSize", err)
	}
	if err := conn.Tx(make([]byte, 3), make([]byte, 2)); err == nil {
		t.Error("Tx of 3 bytes out and 2 in succeeds")
	}
	broken := errors.New("broken")
	c.Fault = func(byte, uint32, []byte) error { return broken }
	if err := conn.Tx(make([]byte, 4), make([]byte, 4)); !errors.Is(err, broken) {
		t.Errorf("Tx with a fault = %v", err)
	}
	p := c.Port()
	if _, err := p.Connect(physic.MegaHertz, spi.Mode1, 8); err == nil {
		t.Error("Connect in mode 1 succeeds")
	}
	closed, err := p.Connect(physic.MegaHertz, spi.Mode3, 8)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Connect(physic.MegaHertz, spi.Mode0, 8); !errors.Is(err, errConnected) {
		t.Errorf("second Connect = %v, want errConnected", err)
	}
	if n := c.OpenPorts(); n != 2 {
		t.Errorf("OpenPorts() = %d, want 2", n)
	}
	if err := p.Close(); err != nil || c.OpenPorts() != 1 {
		t.Errorf("Close = %v, %d open", err, c.OpenPorts())
	}
	if err := closed.Tx([]byte{0x9f}, nil); !errors.Is(err, errNotConnected) {
		t.Errorf("Tx after Close = %v, want errNotConnected", err)
	}
}
