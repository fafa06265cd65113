package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fault makes of a line with its end what arrives.
type fault func(line []byte) []byte

// noisy are the faults of a console: the kernel writes between lines and into them, and bytes are lost and changed.
func noisy(seed uint64) fault {
	r := rand.New(rand.NewPCG(seed, 1))
	return func(line []byte) []byte {
		at := r.IntN(len(line))
		const kernel = "[   12.345678] virtio_net virtio1 eth0: link\r\n"
		switch r.IntN(16) {
		case 0:
			return append([]byte(kernel), line...)
		case 1: // into the line
			return append(append(bytes.Clone(line[:at]), kernel...), line[at:]...)
		case 2:
			return append(bytes.Clone(line[:at]), line[min(at+1+r.IntN(16), len(line)):]...)
		case 3:
			line = bytes.Clone(line)
			line[at] ^= 1 << r.IntN(8)
			return line
		case 4:
			return nil
		case 5:
			return append(bytes.Clone(line), line...)
		}
		return line
	}
}

// side is one end of a console under test.
type side struct {
	conn *Conn
	pipe *io.PipeWriter

	mu  sync.Mutex
	got []string
}

func (s *side) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

// consoles connects two sides by lines that suffer a fault each way.
func consoles(t *testing.T, there, back fault) (host, guest *side) {
	host, guest = new(side), new(side)
	end := func(s *side, p Pace) *io.PipeReader {
		r, w := io.Pipe()
		s.pipe = w
		s.conn = NewConn(w, p, func(m []byte) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.got = append(s.got, string(m))
		})
		return r
	}
	fromHost, fromGuest := end(host, HostPace), end(guest, GuestPace)
	carry := func(r io.Reader, to *side, f fault) {
		lines := Splitter{Line: func(b []byte) {
			if _, frame := SplitLine(b); frame != nil {
				to.conn.Handle(frame)
			}
		}}
		whole := Splitter{Line: func(b []byte) {
			b = append(b, '\n')
			if f != nil {
				b = f(b)
			}
			_, _ = lines.Write(b)
		}}
		_, _ = io.Copy(&whole, r)
	}
	go carry(fromHost, guest, there)
	go carry(fromGuest, host, back)
	t.Cleanup(func() {
		for _, s := range []*side{host, guest} {
			s.conn.Close(nil)
			_ = s.pipe.Close()
		}
	})
	return host, guest
}

func TestConnUnderNoise(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host, guest := consoles(t, noisy(seed), noisy(seed+100))
				var down, up []string
				for i := range 12 {
					down = append(down, fmt.Sprintf("request %d %s", i, bytes.Repeat([]byte("abc"), i*i*20)))
					up = append(up, fmt.Sprintf("answer %d %s", i, bytes.Repeat([]byte("xyz"), i*i*200)))
				}
				for i := range down {
					if err := errors.Join(host.conn.Send([]byte(down[i])), guest.conn.Send([]byte(up[i]))); err != nil {
						t.Fatal(err)
					}
				}
				if err := errors.Join(host.conn.Flush(time.Hour), guest.conn.Flush(time.Hour)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(down, guest.messages()); diff != "" {
					t.Errorf("the guest got (-want +got):\n%.400s", diff)
				}
				if diff := cmp.Diff(up, host.messages()); diff != "" {
					t.Errorf("the host got (-want +got):\n%.400s", diff)
				}
			})
		})
	}
}

// TestConnDamageIsCheap: one damaged frame costs no wait for a timer, since it is asked for again.
func TestConnDamageIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		host, guest := consoles(t, nil, func(b []byte) []byte {
			if n++; n == 5 {
				b[len(b)/2] ^= 1
			}
			return b
		})
		start := time.Now()
		message := bytes.Repeat([]byte("0123456789abcdef"), 100<<6)
		if err := guest.conn.Send(message); err != nil {
			t.Fatal(err)
		}
		if err := guest.conn.Flush(time.Minute); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took >= GuestPace.Resend {
			t.Errorf("it took %s", took)
		}
		if got := host.messages(); len(got) != 1 || got[0] != string(message) {
			t.Errorf("the host got %d messages", len(got))
		}
	})
}

// TestConnWindow: a slow reader is never sent more than a window.
func TestConnWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conn *Conn
		r, w := io.Pipe()
		conn = NewConn(w, HostPace, func([]byte) {})
		t.Cleanup(func() { conn.Close(nil); _ = r.Close() })
		if err := conn.Send(make([]byte, 20*HostPace.Data)); err != nil {
			t.Fatal(err)
		}
		seen := uint32(0) // newest frame
		s := Splitter{Line: func(b []byte) {
			f, err := ParseFrame(b)
			if err != nil {
				t.Error(err)
				return
			}
			seen = max(seen, f.Number)
		}}
		go func() { _, _ = io.Copy(&s, r) }()
		for acked := uint32(0); acked < 20; acked++ {
			synctest.Wait()
			if want := min(acked+uint32(HostPace.Window), 20); seen != want {
				t.Fatalf("%d frames sent with %d acknowledged, want %d", seen, acked, want)
			}
			conn.Handle(bytes.TrimSpace(line(t, &Frame{Ack: acked + 1})))
		}
		if err := conn.Flush(0); err != nil {
			t.Error(err)
		}
	})
}

func TestConnSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, _ := consoles(t, func([]byte) []byte { return nil }, nil)
		start := time.Now()
		if err := host.conn.Send([]byte("anybody?")); err != nil {
			t.Fatal(err)
		}
		<-host.conn.Done()
		if !errors.Is(host.conn.Err(), ErrSilent) {
			t.Errorf("Err = %v, want ErrSilent", host.conn.Err())
		}
		if took := time.Since(start); took < HostPace.Silence || took > HostPace.Silence+4*HostPace.Resend {
			t.Errorf("given up after %s", took)
		}
		if err := host.conn.Send([]byte("more")); !errors.Is(err, ErrSilent) {
			t.Errorf("Send after the end: %v", err)
		}
	})
}

// TestConnForgedNumbers: numbers that cannot be are no harm.
func TestConnForgedNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, guest := consoles(t, nil, nil)
		for _, f := range []*Frame{
			{Ack: 5},
			{Ack: 1 << 31},
			{Ack: 4294967295, Resend: true},
			{Resend: true},
			{Number: 9, Data: []byte("from the future")},
			{Number: 4294967295, Data: []byte("x"), More: true},
		} {
			host.conn.Handle(bytes.TrimSpace(line(t, f)))
		}
		if err := errors.Join(host.conn.Send([]byte("a")), guest.conn.Send([]byte("b"))); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(host.conn.Flush(time.Minute), guest.conn.Flush(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]string{{"b"}, {"a"}}, [][]string{host.messages(), guest.messages()}); diff != "" {
			t.Errorf("messages (-want +got):\n%s", diff)
		}
	})
}

func TestConnRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, guest := consoles(t, nil, nil)
		for _, n := range []int{0, MaxMessage + 1} {
			if err := host.conn.Send(make([]byte, n)); err == nil {
				t.Errorf("Send of %d bytes succeeds", n)
			}
		}
		_ = guest.pipe.CloseWithError(errors.New("line cut"))
		if err := guest.conn.Send([]byte("x")); err != nil {
			t.Fatal(err)
		}
		<-guest.conn.Done()
		if err := guest.conn.Flush(time.Second); err == nil {
			t.Error("Flush after the end succeeds")
		}
	})
}
