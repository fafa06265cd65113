package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeReader is a source in memory whose blocks can be bad.
type fakeReader struct {
	io.ReaderAt
	chip       Chip
	token      func() (string, bool)
	block      uint64
	bad        map[uint64]bool // by offset of the block
	failures   uint32          // counted by each read
	failed     uint32
	read       int // bytes
	most       int // bytes of one read
	touchedBad bool
}

func newFake(b []byte) *fakeReader {
	return &fakeReader{ReaderAt: bytes.NewReader(b), chip: Chip{Kind: MTD, Partition: true, Size: uint64(len(b))}}
}

func (f *fakeReader) ReadAt(b []byte, at int64) (int, error) {
	f.read, f.most, f.failed = f.read+len(b), max(f.most, len(b)), f.failed+f.failures
	for block := range f.bad {
		f.touchedBad = f.touchedBad || uint64(at) < block+f.block && uint64(at)+uint64(len(b)) > block
	}
	return f.ReaderAt.ReadAt(b, at)
}

func (f *fakeReader) Size() uint64   { return f.chip.Size }
func (f *fakeReader) Describe() Chip { return f.chip }
func (f *fakeReader) Close() error   { return nil }

func (f *fakeReader) Generation() (string, bool) {
	if f.token == nil {
		return "", false
	}
	return f.token()
}

func (f *fakeReader) badBlockSize() uint64                 { return f.block }
func (f *fakeReader) badBlock(offset uint64) (bool, error) { return f.bad[offset], nil }
func (f *fakeReader) uncorrected() uint32                  { return f.failed }

// plainHash is the digest as its definition says it, all in memory.
func plainHash(content []byte, exclude []Range) [32]byte {
	b := bytes.Clone(content)
	for _, x := range exclude {
		copy(b[x.Offset:], bytes.Repeat([]byte{0xff}, int(x.Length)))
	}
	return sha256.Sum256(b)
}

func TestHashExcludes(t *testing.T) {
	content := random(300_000)
	for name, r := range map[string]Region{
		"all":                {},
		"part":               {Offset: 1000, Length: 131072},
		"one byte":           {Offset: 299_999},
		"first byte out":     {Exclude: []Range{{0, 1}}},
		"last byte out":      {Exclude: []Range{{299_999, 1}}},
		"over a piece":       {Exclude: []Range{{65_000, 1000}}},
		"exactly a piece":    {Exclude: []Range{{65_536, 65_536}}},
		"several pieces":     {Exclude: []Range{{10, 200_000}}},
		"many":               {Offset: 77, Length: 200_000, Exclude: []Range{{0, 5}, {6, 1}, {70_000, 65_536}, {140_000, 1}, {199_999, 1}}},
		"all but the middle": {Exclude: []Range{{0, 150_000}, {150_001, 149_999}}},
	} {
		r.Name = "x"
		size := r.Length
		if size == 0 {
			size = uint64(len(content)) - r.Offset
		}
		part := content[r.Offset : r.Offset+size]
		want := plainHash(part, r.Exclude)
		f := newFake(content)
		var copied bytes.Buffer
		var done []uint64
		sum, err := Copy(context.Background(), &copied, f, r, HashOptions{Progress: func(n, total uint64) {
			if total != size || len(done) > 0 && n <= done[len(done)-1] {
				t.Errorf("%s: progress %d of %d after %v", name, n, total, done)
			}
			done = append(done, n)
		}})
		if err != nil || sum.Digest != want || sum.Length != size || sum.Blank || sum.Bad != nil {
			t.Errorf("%s: Copy = %+v, %v, want %x of %d bytes", name, sum, err, want, size)
		}
		if sha256.Sum256(copied.Bytes()) != want || done[len(done)-1] != size {
			t.Errorf("%s: copied %d bytes, progress to %v", name, copied.Len(), done)
		}
		excluded := 0
		for _, x := range r.Exclude {
			excluded += int(x.Length)
		}
		if f.read != int(size)-excluded || f.most > bufferSize {
			t.Errorf("%s: read %d bytes, at most %d at once, want %d without the excluded ones", name, f.read, f.most, int(size)-excluded)
		}
		image, err := HashImage(bytes.NewReader(content), uint64(len(content)), r)
		if err != nil || image.Digest != want {
			t.Errorf("%s: HashImage = %x, %v, want %x", name, image.Digest, err, want)
		}
		// What is excluded makes no difference, what is not does.
		for _, x := range r.Exclude {
			content[r.Offset+x.Offset] ^= 1
		}
		if again, err := HashImage(bytes.NewReader(content), uint64(len(content)), r); err != nil || again.Digest != want {
			t.Errorf("%s: excluded bytes change the digest: %v", name, err)
		}
	}
}

func TestHashErrors(t *testing.T) {
	content := random(200_000)
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("operator said so")
	short := newFake(content[:100_000])
	short.chip.Size = 200_000
	wide := newFake(content)
	full := errors.New("full")
	for name, c := range map[string]struct {
		run  func() (Sum, error)
		want error
		text string
	}{
		"outside": {func() (Sum, error) {
			return Hash(ctx, newFake(content), Region{Name: "x", Length: 200_001}, HashOptions{})
		}, ErrOutside, "0x30d41 bytes at 0x0"},
		"shorter than it says": {
			func() (Sum, error) { return Hash(ctx, short, Region{Name: "x"}, HashOptions{}) }, io.ErrUnexpectedEOF, "read 65536 bytes at 0x10000",
		},
		"writer fails": {func() (Sum, error) { return Copy(ctx, failing{full}, wide, Region{Name: "x"}, HashOptions{}) }, full, "full"},
		"cancelled": {func() (Sum, error) {
			return Hash(ctx, wide, Region{Name: "x"}, HashOptions{Progress: func(uint64, uint64) { cancel(reason) }})
		}, reason, `region "x"`},
	} {
		sum, err := c.run()
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !cmp.Equal(sum, Sum{}) {
			t.Errorf("%s: Hash = %+v, %v, want %v with %q", name, sum, err, c.want, c.text)
		}
		if c.want == reason && wide.read > 4*bufferSize {
			t.Errorf("%d bytes were read after the end", wide.read)
		}
		ctx, cancel = context.WithCancelCause(context.Background())
	}
	cancel(nil)
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// fakeClock advances only while somebody waits.
type fakeClock struct {
	now    time.Time
	waited []time.Duration
}

func (c *fakeClock) options(rate int64) HashOptions {
	return HashOptions{BytesPerSecond: rate, Now: func() time.Time { return c.now }, Wait: func(ctx context.Context, d time.Duration) error {
		c.waited, c.now = append(c.waited, d), c.now.Add(d)
		return ctx.Err()
	}}
}

func TestHashKeepsToTheRate(t *testing.T) {
	content := random(1 << 20)
	clock := &fakeClock{now: time.Unix(1e9, 0)}
	sum, err := Hash(context.Background(), newFake(content), Region{Name: "x"}, clock.options(256<<10))
	if err != nil || sum.Elapsed != 4*time.Second || len(clock.waited) != 16 {
		t.Errorf("Hash of 1 MiB at 256 KiB/s took %v in %d waits, %v, want 4s in 16", sum.Elapsed, len(clock.waited), err)
	}
	// Excluded bytes cost nothing, since they are not read.
	sum, err = Hash(context.Background(), newFake(content), Region{Name: "x", Exclude: []Range{{0, 1<<20 - 65536}}}, clock.options(256<<10))
	if err != nil || sum.Elapsed != time.Second/4 {
		t.Errorf("Hash of the last 64 KiB took %v, %v, want 250ms", sum.Elapsed, err)
	}
	// Without a limit nobody waits.
	clock.waited = nil
	if _, err := Hash(context.Background(), newFake(content), Region{Name: "x"}, clock.options(0)); err != nil || clock.waited != nil {
		t.Errorf("Hash without a rate waited %v, %v", clock.waited, err)
	}
	// A pause is not made up for.
	options := clock.options(256 << 10)
	options.Progress = func(done, _ uint64) {
		if done == 512<<10 {
			clock.now = clock.now.Add(time.Hour)
		}
	}
	clock.waited = nil
	if _, err = Hash(context.Background(), newFake(content), Region{Name: "x"}, options); err != nil || len(clock.waited) != 15 {
		t.Errorf("Hash waited %d times around a pause, %v, want 15", len(clock.waited), err)
	}
}

func TestHashWaitEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	read := make(chan bool)
	go func() {
		_, err := Hash(ctx, newFake(random(1<<20)), Region{Name: "x"}, HashOptions{BytesPerSecond: 1, Progress: func(uint64, uint64) { close(read) }})
		done <- err
	}()
	<-read // the next thing is to wait for 18 hours
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Hash = %v, want Canceled", err)
	}
}

func TestHashGeneration(t *testing.T) {
	f := newFake(random(100))
	f.token = func() (string, bool) { return "a", true }
	sum, err := Hash(context.Background(), f, Region{Name: "x"}, HashOptions{})
	if err != nil || sum.Generation != "a" {
		t.Errorf("Hash = %+v, %v, want generation a", sum, err)
	}
	n := 0
	f.token = func() (string, bool) { n++; return strings.Repeat("a", n), true }
	if sum, err = Hash(context.Background(), f, Region{Name: "x"}, HashOptions{}); err != nil || sum.Generation != "" {
		t.Errorf("Hash of what is written meanwhile = %+v, %v, want no generation", sum, err)
	}
	f.token = func() (string, bool) { return "", false }
	if sum, err = Hash(context.Background(), f, Region{Name: "x"}, HashOptions{}); err != nil || sum.Generation != "" {
		t.Errorf("Hash of what has no generation = %+v, %v", sum, err)
	}
}

// TestHashSkipsBadBlocks compares with what nandwrite would have written: image blocks into good blocks, in order.
func TestHashSkipsBadBlocks(t *testing.T) {
	const block, blocks = 16 << 10, 12
	for name, c := range map[string]struct {
		bad     []uint64 // numbers of blocks
		region  Region
		wantBad []Range
	}{
		"none":            {nil, Region{}, nil},
		"first":           {[]uint64{0}, Region{}, []Range{{0, block}}},
		"last":            {[]uint64{11}, Region{}, []Range{{11 * block, block}}},
		"two together":    {[]uint64{3, 4}, Region{}, []Range{{3 * block, 2 * block}}},
		"two apart":       {[]uint64{3, 7}, Region{}, []Range{{3 * block, block}, {7 * block, block}}},
		"outside":         {[]uint64{0, 11}, Region{Offset: block, Length: 4 * block}, nil},
		"in the region":   {[]uint64{2}, Region{Offset: block, Length: 4 * block}, []Range{{block, block}}},
		"inside a block":  {[]uint64{1, 4}, Region{Offset: block + 100, Length: 3*block + 50}, []Range{{0, block - 100}, {3*block - 100, 150}}},
		"with exclusions": {[]uint64{0, 5}, Region{Exclude: []Range{{100, 3 * block}, {9 * block, 10}}}, []Range{{0, block}, {5 * block, block}}},
		"all but one":     {[]uint64{0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11}, Region{}, []Range{{0, 7 * block}, {8 * block, 4 * block}}},
		"all":             {[]uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, Region{}, []Range{{0, 12 * block}}},
	} {
		flash := random(block * blocks)
		f := newFake(flash)
		f.block, f.bad = block, map[uint64]bool{}
		for _, n := range c.bad {
			f.bad[n*block] = true
		}
		r := c.region
		r.Name = "x"
		size := r.Length
		if size == 0 {
			size = block * blocks
		}
		var content []byte // the region's good bytes
		for at := r.Offset; at < r.Offset+size; at++ {
			if !f.bad[at/block*block] {
				content = append(content, flash[at])
			}
		}
		content = append(content, bytes.Repeat([]byte{0xff}, int(size)-len(content))...)
		want := plainHash(content, r.Exclude)
		sum, err := Hash(context.Background(), f, r, HashOptions{})
		if err != nil || sum.Digest != want || sum.Length != size || f.touchedBad {
			t.Errorf("%s: Hash = %x of %d bytes, %v, want %x; read of bad blocks: %v", name, sum.Digest, sum.Length, err, want, f.touchedBad)
		}
		if diff := cmp.Diff(c.wantBad, sum.Bad); diff != "" {
			t.Errorf("%s: Bad (-want +got):\n%s", name, diff)
		}
	}
}

func TestHashFailsUncorrected(t *testing.T) {
	f := newFake(random(200_000))
	f.block, f.failed = 16<<10, 7
	if _, err := Hash(context.Background(), f, Region{Name: "x"}, HashOptions{}); err != nil {
		t.Errorf("Hash after old failures = %v", err)
	}
	f.failures = 1
	if sum, err := Hash(context.Background(), f, Region{Name: "x"}, HashOptions{}); !errors.Is(err, ErrUncorrectable) {
		t.Errorf("Hash with failures = %+v, %v, want ErrUncorrectable", sum, err)
	}
}

// everySecondBad has blocks of one byte, half of them bad.
type everySecondBad struct{ *fakeReader }

func (everySecondBad) badBlockSize() uint64                 { return 1 }
func (everySecondBad) badBlock(offset uint64) (bool, error) { return offset%2 == 0, nil }

func TestHashTooManyBadBlocks(t *testing.T) {
	f := everySecondBad{newFake(make([]byte, 2*MaxBad+1))}
	if _, err := Hash(context.Background(), f, Region{Name: "x"}, HashOptions{}); err == nil || !strings.Contains(err.Error(), "worn out") {
		t.Errorf("Hash of %d bad blocks = %v, want an error", MaxBad+1, err)
	}
	f.chip.Size = 2 * MaxBad
	if sum, err := Hash(context.Background(), f, Region{Name: "x"}, HashOptions{}); err != nil || len(sum.Bad) != MaxBad {
		t.Errorf("Hash of %d bad blocks = %d, %v", MaxBad, len(sum.Bad), err)
	}
}

// endless is a source of 16 MiB that needs no memory.
type endless struct{}

func (endless) ReadAt(b []byte, at int64) (int, error) {
	for i := range b {
		b[i] = byte(at+int64(i)) | 1
	}
	return len(b), nil
}

func TestHashNeedsLittleMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := HashImage(endless{}, 16<<20, Region{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("hashing 16 MiB allocated %d bytes in all, want under 1 MiB", n)
	}
}
