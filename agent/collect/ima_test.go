package collect

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
)

// segment checks one call of IMASegment.
func segment(t testing.TB, c *Collector, from uint64, want []byte) {
	t.Helper()
	got, n, un := c.IMASegment(t.Context(), from)
	count, err := ima.Count(want)
	if un != nil || err != nil {
		t.Fatalf("IMASegment(%d): %v, %v", from, un, err)
	}
	if !bytes.Equal(got, want) || n != uint64(count) {
		t.Errorf("IMASegment(%d) = %d bytes, %d entries, want %d, %d", from, len(got), n, len(want), count)
	}
}

func TestIMASegment(t *testing.T) {
	for _, name := range imaLists {
		tr := newTree(t)
		list := entries(t, 0, 500) // more than readSize
		tr.write(name, string(list))
		c := tr.collector()
		for _, from := range []int{0, 500, 499, 1, 250, 251, 0} {
			at, err := ima.Skip(list, from)
			if err != nil {
				t.Fatal(err)
			}
			segment(t, c, uint64(from), list[at:])
			if n, un := c.IMACount(t.Context()); n != 500 || un != nil {
				t.Errorf("IMACount = %d, %v", n, un)
			}
		}
	}
}

func TestIMAGrows(t *testing.T) {
	tr := newTree(t)
	tr.write(imaList, "")
	c := tr.collector()
	segment(t, c, 0, nil)
	for n := 0; n < 300; n += 30 {
		more := entries(t, n, n+30)
		tr.add(imaList, more)
		if got, un := c.IMACount(t.Context()); got != uint64(n+30) || un != nil {
			t.Fatalf("IMACount = %d, %v, want %d", got, un, n+30)
		}
		segment(t, c, uint64(n), more)
	}
}

// A tail that is not whole yet is the end; it comes with the next call.
func TestIMATruncatedTail(t *testing.T) {
	tr := newTree(t)
	list := entries(t, 0, 3)
	two, _ := ima.Skip(list, 2)
	tr.write(imaList, string(list[:two+10]))
	c := tr.collector()
	segment(t, c, 0, list[:two])
	tr.add(imaList, list[two+10:])
	segment(t, c, 2, list[two:])
	segment(t, c, 0, list)
}

// What lies before the wanted part is not read again: damage there goes unnoticed.
func TestIMARemembersOffsets(t *testing.T) {
	tr := newTree(t)
	list := entries(t, 0, 1000)
	tr.write(imaList, string(list))
	c := tr.collector()
	at, _ := ima.Skip(list, 900)
	segment(t, c, 900, list[at:])
	before, _ := ima.Skip(list, 899)
	damaged := append(bytes.Repeat([]byte{0xff}, before), list[before:]...)
	tr.write(imaList, string(damaged))
	segment(t, c, 900, list[at:])
	segment(t, c, 1000, nil)
	if n, un := c.IMACount(t.Context()); n != 1000 || un != nil {
		t.Errorf("IMACount = %d, %v", n, un)
	}
	_, _, un := c.IMASegment(t.Context(), 899)
	wantCause(t, un, proto.CauseMalformed, "entry 0 at offset 0")
}

// A reboot starts the list anew, with or without a new boot id that could be read (ATTACKS row 55).
func TestIMARestarts(t *testing.T) {
	for name, boot := range map[string]func(tree){
		"new boot id": func(tr tree) { tr.boot(2) },
		"no boot id":  func(tr tree) { tr.remove(bootID) },
		"same":        func(tree) {},
	} {
		for _, again := range [][]byte{entries(t, 5000, 5010), entries(t, 5000, 5200), {}} {
			t.Run(name, func(t *testing.T) {
				tr := newTree(t)
				list := entries(t, 0, 100)
				tr.write(imaList, string(list))
				c := tr.collector()
				segment(t, c, 0, list)
				segment(t, c, 100, nil)
				boot(tr)
				tr.write(imaList, string(again))
				want, _ := ima.Count(again)
				if n, un := c.IMACount(t.Context()); n != uint64(want) || un != nil {
					t.Errorf("IMACount = %d, %v, want %d", n, un, want)
				}
				segment(t, c, 0, again)
				if want < 100 {
					_, _, un := c.IMASegment(t.Context(), 100)
					wantCause(t, un, proto.CauseMalformed, "fewer than the 100 already reported")
				}
			})
		}
	}
}

// The place of the last entry may hold an entry in another list, too: its digest or, where even that is the same, the
// boot id tells.
func TestIMARestartsAtTheSameOffset(t *testing.T) {
	first, last := entries(t, 10, 12), entries(t, 12, 13)
	long := measured(t, "/usr/bin/"+strings.Repeat("x", len("tool-10")+len(first)/2))
	if len(long) != len(first) {
		t.Fatalf("entry of %d bytes, want %d", len(long), len(first))
	}
	for name, tc := range map[string]struct {
		boot int
		last []byte
	}{
		"other digest": {1, entries(t, 13, 14)},
		"same digest":  {2, last},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t)
			tr.write(imaList, string(first)+string(last))
			c := tr.collector()
			segment(t, c, 3, nil)
			tr.boot(tc.boot)
			tr.write(imaList, string(long)+string(tc.last))
			if n, un := c.IMACount(t.Context()); n != 2 || un != nil {
				t.Errorf("IMACount = %d, %v, want 2", n, un)
			}
		})
	}
}

// measured makes a list of one file.
func measured(tb testing.TB, path string) []byte {
	tb.Helper()
	var b ima.Builder
	if err := b.Append(ima.Measurement{Path: path, Algorithm: pcr.SHA256, Digest: make([]byte, 32)}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestIMAUnavailable(t *testing.T) {
	good := string(entries(t, 0, 2))
	wide := make([]byte, 64)
	binary.LittleEndian.PutUint32(wide, 10)
	wide[4+20] = 1
	wide[28] = 'x'
	binary.LittleEndian.PutUint32(wide[29:], 1<<30)
	for _, tc := range []struct {
		name  string
		make  func(tree)
		cause proto.Cause
		says  string
	}{
		{"no securityfs", func(tree) {}, proto.CauseNotFound, "mount -t securityfs"},
		{"no IMA", func(tr tree) { tr.write(bootLog, "log") }, proto.CauseNotFound, "CONFIG_IMA"},
		{"malformed", func(tr tree) { tr.write(imaList, good+"garbage that is no entry and as long as its head") }, proto.CauseMalformed, "entry 2 at offset"},
		{"entry too large", func(tr tree) { tr.write(imaList, good+string(wide)) }, proto.CauseMalformed, "at most"},
		{"a directory", func(tr tree) { tr.write(imaList+"/x", "") }, proto.CauseMalformed, "not a regular file"},
		{"a named pipe", func(tr tree) {
			tr.write(securityfs+"/ima/x", "")
			tr.must(syscall.Mkfifo(tr.path(imaList), 0o644))
		}, proto.CauseMalformed, "not a regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := newTree(t)
			tc.make(tr)
			c := tr.collector()
			n, un := c.IMACount(t.Context())
			wantCause(t, un, tc.cause, tc.says)
			data, count, un := c.IMASegment(t.Context(), 0)
			wantCause(t, un, tc.cause, tc.says)
			if n != 0 || data != nil || count != 0 {
				t.Errorf("%d, %d bytes, %d entries beside a reason", n, len(data), count)
			}
		})
	}
}

func TestIMACancelled(t *testing.T) {
	tr := newTree(t)
	tr.write(imaList, string(entries(t, 0, 2)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, un := tr.collector().IMACount(ctx)
	wantCause(t, un, proto.CauseIO, "canceled")
}

// bigEntry is about 1 MiB.
func bigEntry(tb testing.TB) []byte {
	tb.Helper()
	b := binary.LittleEndian.AppendUint32(nil, 10)
	b = append(b, bytes.Repeat([]byte{1}, ima.DigestSize)...)
	b = append(binary.LittleEndian.AppendUint32(b, 7), "ima-buf"...)
	return append(binary.LittleEndian.AppendUint32(b, 1<<20), make([]byte, 1<<20)...)
}

// The list may be larger than a segment may be, and than the agent's memory (ATTACKS row 15).
func TestIMABoundedMemory(t *testing.T) {
	tr := newTree(t)
	big, small := bigEntry(t), entries(t, 0, 10)
	tr.write(imaList, "")
	for range 15 {
		tr.add(imaList, big)
	}
	c := tr.collector()
	if data, n, un := c.IMASegment(t.Context(), 0); un != nil || n != 15 || len(data) != 15*len(big) {
		t.Errorf("IMASegment below the limit = %d bytes, %d entries, %v", len(data), n, un)
	}
	for range 17 {
		tr.add(imaList, big)
	}
	tr.add(imaList, small)
	_, _, un := c.IMASegment(t.Context(), 0)
	wantCause(t, un, proto.CauseTooLarge, "over 16777216 bytes")
	segment(t, c, 32, small)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 3 {
		if n, un := tr.collector().IMACount(t.Context()); n != 42 || un != nil {
			t.Errorf("IMACount = %d, %v", n, un)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 3*5<<20 {
		t.Errorf("counting a list of 32 MiB three times allocated %d bytes", used)
	}
}

// Several goroutines read while the list grows; every segment is what a replay needs: whole entries from its start on.
func TestIMAConcurrent(t *testing.T) {
	tr := newTree(t)
	list := entries(t, 0, 400)
	tr.write(imaList, "")
	c := tr.collector()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for from := uint64(0); ; {
				data, n, un := c.IMASegment(t.Context(), from)
				at, err := ima.Skip(list, int(from))
				if un != nil || err != nil || !bytes.HasPrefix(list[at:], data) {
					t.Errorf("IMASegment(%d) = %d bytes, %v, %v", from, len(data), un, err)
					return
				}
				if count, err := ima.Count(data); err != nil || uint64(count) != n {
					t.Errorf("IMASegment(%d): %d entries, have %d, %v", from, n, count, err)
				}
				from += n * uint64(g) / 2
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for rest := list; len(rest) > 0; { // not at the ends of entries
		n := min(777, len(rest))
		tr.add(imaList, rest[:n])
		rest = rest[n:]
	}
	close(stop)
	wg.Wait()
	segment(t, c, 0, list)
}

// Without securityfs mounted here, this only shows that the reason says so.
func TestIMAOfThisMachine(t *testing.T) {
	c := New(Config{})
	n, un := c.IMACount(t.Context())
	if un != nil {
		wantCause(t, un, un.Cause, "")
		t.Skipf("skipped: no IMA list here: %v", un)
	}
	data, count, un := c.IMASegment(t.Context(), 0)
	if un != nil && un.Cause == proto.CauseTooLarge {
		t.Skipf("skipped: %v", un)
	}
	if un != nil || count < n {
		t.Fatalf("IMASegment = %d entries, %v; IMACount was %d", count, un, n)
	}
	if got, err := ima.Count(data); err != nil || uint64(got) != count {
		t.Errorf("%d entries, want %d, %v", got, count, err)
	}
}

func TestListReaderSeekError(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, at := range []mark{{}, {entries: 1, last: 10, offset: 20}} {
		if _, err := newListReader(t.Context(), f, at); !errors.Is(err, os.ErrClosed) {
			t.Errorf("reader of a closed file: %v", err)
		}
	}
}
