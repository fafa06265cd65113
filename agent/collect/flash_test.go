package collect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/proto"
)

func digest(b []byte) []byte { d := sha256.Sum256(b); return d[:] }

func TestFlash(t *testing.T) {
	m := newFakeFlash(200_000, 4096)
	m.regions[0].Name, m.regions[1].Name = "u-boot", "env" // discovered in another order than that of names
	inBubble(t, m, FlashConfig{Interval: time.Hour}, func(r *flashRig) {
		if !r.Wait(r.Context(), time.Minute) {
			t.Fatal("the first pass does not end")
		}
		got, age := r.get()
		want := []proto.FlashRegion{
			{Name: "env", Source: "mtd:mtd1", Length: 4096, Digest: digest(m.chip(1).data), Chip: "ef4018"},
			{Name: "u-boot", Source: "mtd:mtd0", Length: 200_000, Digest: digest(m.chip(0).data), Chip: "ef4018"},
		}
		if diff := cmp.Diff(want, got); diff != "" || age != 0 {
			t.Errorf("Regions (-want +got): %s\nage %s", diff, age)
		}
		r.later(59 * time.Minute)
		if _, age := r.get(); age != 59*time.Minute || m.chip(0).count() != 1 {
			t.Errorf("age %s after %d reads, want 59m after one", age, m.chip(0).count())
		}
		r.later(time.Minute)
		if _, age := r.get(); age != 0 || m.chip(0).count() != 2 || r.changes != 0 {
			t.Errorf("age %s after %d reads, %d changes, want 0 after two and none", age, m.chip(0).count(), r.changes)
		}

		// An implant.
		m.do(func() { m.chip(0).data[100_000] ^= 1 })
		r.later(time.Hour)
		got, _ = r.get()
		if !bytes.Equal(got[1].Digest, digest(m.chip(0).data)) || r.changes != 1 {
			t.Errorf("digest %x, %d changes, want that of the changed content and one", got[1].Digest, r.changes)
		}
		if !strings.Contains(r.log.String(), `msg="flash region changed" name=u-boot`) {
			t.Errorf("log says nothing of the change:\n%s", r.log)
		}
		r.later(time.Hour)
		if r.changes != 1 {
			t.Errorf("%d changes, want one: nothing changed since", r.changes)
		}
	})
}

func TestFlashLayout(t *testing.T) {
	m := newFakeFlash(8192)
	at := func(name string) flash.Source { return flash.Source{Kind: flash.File, Name: name} }
	source := flash.Source{Kind: flash.MTD, Name: "mtd0"}
	layout := &flash.Layout{Regions: []flash.Region{
		{Name: "bios", Source: source, Offset: 4096, Length: 4096, Exclude: []flash.Range{{Offset: 16, Length: 8}, {Offset: 4000, Length: 96}}},
		{Name: "roms", Source: at("/lib/*.rom")},
		{Name: "gone", Source: at("/lib/*.gone")},
		{Name: "beyond", Source: source, Offset: 8192},
		{Name: "spi", Source: flash.Source{Kind: flash.SPI, Name: "0.0"}, Length: 1 << 20},
	}}
	m.expand = map[string][]flash.Region{"gone": nil, "roms": {
		{Name: "roms/a.rom", Source: at("/lib/a.rom")}, {Name: "roms/b.rom", Source: at("/lib/b.rom")},
	}}
	m.chips["file:/lib/a.rom"] = &fakeChip{m: m, data: []byte("option ROM")}
	m.chips["file:/lib/b.rom"] = &fakeChip{m: m, data: []byte("another")}
	inBubble(t, m, FlashConfig{Layout: layout}, func(r *flashRig) {
		r.Wait(r.Context(), time.Minute)
		excluded := bytes.Clone(m.chip(0).data[4096:])
		for _, x := range layout.Regions[0].Exclude {
			copy(excluded[x.Offset:], bytes.Repeat([]byte{0xff}, int(x.Length)))
		}
		un := func(cause proto.Cause) *proto.Unavailable { return &proto.Unavailable{Cause: cause} }
		want := []proto.FlashRegion{
			{Name: "beyond", Source: "mtd:mtd0", Offset: 8192, Unavailable: un(proto.CauseMalformed)},
			{
				Name: "bios", Source: "mtd:mtd0", Offset: 4096, Length: 4096, Digest: digest(excluded), Chip: "ef4018",
				Excluded: []proto.FlashRange{{Offset: 16, Length: 8}, {Offset: 4000, Length: 96}},
			},
			{Name: "gone", Source: "file:/lib/*.gone", Unavailable: un(proto.CauseNotFound)},
			{Name: "roms/a.rom", Source: "file:/lib/a.rom", Length: 10, Digest: digest([]byte("option ROM")), Chip: "ef4018"},
			{Name: "roms/b.rom", Source: "file:/lib/b.rom", Length: 7, Digest: digest([]byte("another")), Chip: "ef4018"},
			{Name: "spi", Source: "spi:0.0", Length: 1 << 20, Unavailable: un(proto.CauseNotFound)},
		}
		got, _ := r.get()
		for i := range got {
			if got[i].Unavailable != nil && got[i].Unavailable.Reason == "" {
				t.Errorf("%s: no reason", got[i].Name)
			}
		}
		ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Reason" }, cmp.Ignore())
		if diff := cmp.Diff(want, got, ignore); diff != "" {
			t.Errorf("Regions (-want +got): %s", diff)
		}

		// A file that comes, and one that goes.
		m.do(func() {
			m.expand["gone"] = []flash.Region{{Name: "gone/back", Source: at("/lib/a.rom")}}
			m.expand["roms"] = m.expand["roms"][:1]
		})
		r.later(time.Hour)
		got, _ = r.get()
		var names []string
		for _, g := range got {
			names = append(names, g.Name)
		}
		if diff := cmp.Diff([]string{"beyond", "bios", "gone/back", "roms/a.rom", "spi"}, names); diff != "" || r.changes != 1 {
			t.Errorf("%d changes; regions (-want +got): %s", r.changes, diff)
		}
	})
}

func TestFlashPending(t *testing.T) {
	m := newFakeFlash(4096, 4096)
	m.chip(0).hangs = true
	inBubble(t, m, FlashConfig{}, func(r *flashRig) {
		if r.Wait(r.Context(), 10*time.Second) {
			t.Error("Wait says that the pass is over")
		}
		if d := time.Since(r.began); d != 10*time.Second {
			t.Errorf("Wait took %s, want 10s from the start", d)
		}
		got, age := r.get()
		for i, reason := range []string{"it is being read", "0 of 2 regions are done"} {
			if un := got[i].Unavailable; un == nil || un.Cause != proto.CausePending || !strings.Contains(un.Reason, reason) {
				t.Errorf("%s: %v, want pending: %s", got[i].Name, un, reason)
			}
		}
		if age != 0 {
			t.Errorf("age %s of nothing", age)
		}
		began := time.Now()
		if r.Wait(r.Context(), time.Second) || !time.Now().Equal(began) {
			t.Error("a second report waits again")
		}
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		if r.Wait(ctx, time.Hour) {
			t.Error("Wait goes on after its context")
		}
		m.chip(0).release()
		synctest.Wait()
		if got, _ := r.get(); got[0].Digest == nil || got[1].Digest == nil || r.changes != 1 {
			t.Errorf("regions %+v, %d changes, want digests and one, for what was pending", got, r.changes)
		}
		if !r.Wait(ctx, 0) {
			t.Error("Wait does not know that the pass is over")
		}
	})
}

func TestNoFlash(t *testing.T) {
	m := newFakeFlash()
	inBubble(t, m, FlashConfig{}, func(r *flashRig) {
		r.Wait(r.Context(), time.Minute)
		if b, age, un := r.Regions(); b != nil || age != 0 || un != nil {
			t.Errorf("Regions = %x, %s, %v, want nothing", b, age, un)
		}
		r.later(3 * time.Hour)
		if r.changes != 0 || r.log.Len() != 0 {
			t.Errorf("%d changes, log %q, want silence", r.changes, r.log)
		}
		m.do(func() { m.notes = []error{errors.New("sys/class/mtd: input/output error")} })
		r.later(time.Hour)
		got, _ := r.get()
		if len(got) != 1 || got[0].Name != "(discovery)" || got[0].Unavailable == nil || r.changes != 1 {
			t.Errorf("Regions = %+v, %d changes, want that flash could not be looked for", got, r.changes)
		}
	})
}

// A region whose source keeps its generation is not read again, though not for ever.
func TestFlashGeneration(t *testing.T) {
	m := newFakeFlash(4096)
	m.chip(0).generation = "1"
	inBubble(t, m, FlashConfig{Interval: time.Hour}, func(r *flashRig) {
		r.later(11*time.Hour + time.Minute)
		if _, age := r.get(); age != 11*time.Hour+time.Minute || m.chip(0).count() != 1 {
			t.Errorf("age %s after %d reads, want that of the only one", age, m.chip(0).count())
		}
		r.later(time.Hour)
		if _, age := r.get(); age != time.Minute || m.chip(0).count() != 2 {
			t.Errorf("age %s after %d reads, want two after 12 intervals", age, m.chip(0).count())
		}
		m.do(func() { m.chip(0).generation, m.chip(0).data[0] = "2", 0 })
		r.later(time.Hour)
		if got, _ := r.get(); !bytes.Equal(got[0].Digest, digest(m.chip(0).data)) || m.chip(0).count() != 3 {
			t.Errorf("digest %x after %d reads, want that of the new content", got[0].Digest, m.chip(0).count())
		}
		m.do(func() { m.chip(0).generation = "" }) // the kernel cannot tell any more
		r.later(2 * time.Hour)
		if n := m.chip(0).count(); n != 5 {
			t.Errorf("%d reads, want one for each interval", n)
		}
	})
}

func TestFlashReasons(t *testing.T) {
	for _, tt := range []struct {
		err   error
		cause proto.Cause
	}{
		{fmt.Errorf("mtd:mtd0: %w", fs.ErrNotExist), proto.CauseNotFound},
		{fmt.Errorf("mtd:mtd0: open /dev/mtd0ro: %w", fs.ErrPermission), proto.CausePermission},
		{fmt.Errorf("x: %w", &flash.UnsupportedError{Source: "spi:0.0", Reason: "a driver has the bus"}), proto.CauseNoSupport},
		{&flash.ChipError{Device: "/dev/spidev0.0", Detail: "contradicts itself"}, proto.CauseMalformed},
		{fmt.Errorf("spi:0.0: %w", flash.ErrNoChip), proto.CauseIO},
		{errors.New(strings.Repeat("x\x1b", 5000)), proto.CauseIO},
	} {
		m := newFakeFlash(4096)
		inBubble(t, m, FlashConfig{}, func(r *flashRig) {
			r.Wait(r.Context(), time.Minute)
			r.get()
			m.do(func() { m.chip(0).fail = tt.err })
			r.later(time.Hour)
			got, _ := r.get()
			un := got[0].Unavailable
			if un == nil || un.Cause != tt.cause || len(un.Reason) > maxFlashReason || got[0].Digest != nil || r.changes != 1 {
				t.Errorf("%.40q: %+v, %d changes, want %s", tt.err, got[0], r.changes, tt.cause)
			}
			r.later(time.Hour)
			if n := strings.Count(r.log.String(), "cannot be read"); n != 1 {
				t.Errorf("%.40q: the log says it %d times, want once", tt.err, n)
			}
			m.do(func() { m.chip(0).fail = nil })
			r.later(time.Hour)
			if got, _ := r.get(); got[0].Digest == nil || r.changes != 2 {
				t.Errorf("%.40q: %+v, %d changes after it was repaired", tt.err, got[0], r.changes)
			}
		})
	}
}

// A read that never comes back takes neither the other regions with it nor anybody who asks (DESIGN, section 5).
func TestFlashHangs(t *testing.T) {
	m := newFakeFlash(4096, 4096)
	m.chip(0).hangs = true
	inBubble(t, m, FlashConfig{Interval: time.Hour}, func(r *flashRig) {
		r.later(flashStall)
		got, _ := r.get()
		if un := got[0].Unavailable; un == nil || un.Cause != proto.CauseIO || !strings.Contains(un.Reason, "hangs in the kernel") {
			t.Errorf("%s: %v, want that it hangs", got[0].Name, un)
		}
		if got[1].Digest == nil {
			t.Errorf("%s: %v, want its digest", got[1].Name, got[1].Unavailable)
		}
		r.later(3 * time.Hour)
		if got, _ := r.get(); got[0].Unavailable == nil || m.chip(0).opened() != 1 || m.chip(1).count() < 3 {
			t.Errorf("%d reads hang, the other region was read %d times", m.chip(0).opened(), m.chip(1).count())
		}
		m.chip(0).release()
		r.later(2 * time.Hour)
		if got, _ := r.get(); got[0].Digest == nil {
			t.Errorf("%s: %v after it does not hang any more", got[0].Name, got[0].Unavailable)
		}
		r.later(time.Hour)
		m.do(func() { m.chip(0).hangs = true })
		defer m.chip(0).release()
		r.later(time.Hour)
		began := time.Now()
		if err := r.Close(); err != nil || time.Since(began) > 2*flashEnd {
			t.Errorf("Close took %s, %v, while a read hangs", time.Since(began), err)
		}
	})
}

func TestFlashRateAndProgress(t *testing.T) {
	m := newFakeFlash(1<<20, 1<<20)
	inBubble(t, m, FlashConfig{Rate: 64 << 10, Interval: time.Hour}, func(r *flashRig) {
		r.Wait(r.Context(), time.Hour)
		if d := time.Since(r.began); d < 31*time.Second || d > 32*time.Second {
			t.Errorf("2 MiB took %s at 64 KiB/s", d)
		}
		var lines []string
		for _, l := range strings.Split(strings.TrimSpace(r.log.String()), "\n") {
			_, l, _ = strings.Cut(l, "msg=")
			lines = append(lines, l)
		}
		want := []string{`"reading flash" regions=2 due=2 bytes=2097152`}
		for i := 1; i < 10; i++ {
			want = append(want, fmt.Sprintf(`"reading flash" done="%d0 %%" region=part%d`, i, i/6))
		}
		if diff := cmp.Diff(append(want, `"flash is read" regions=2 due=2 took=32s`), lines); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		if len(r.status) != 9 || r.status[4] != "reading flash: 50 %, part0" {
			t.Errorf("status %q, want every tenth", r.status)
		}
		r.log.Reset()
		r.later(2 * time.Hour)
		if r.log.Len() != 0 {
			t.Errorf("later passes are told of: %s", r.log)
		}
		r.later(time.Hour - time.Since(r.began)%time.Hour + 10*time.Second) // to end it amid a pass
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.regions[0].busy {
			t.Error("no pass an hour after the last one began")
		}
	})
}

func TestFlashDoesNotFit(t *testing.T) {
	m := newFakeFlash(make([]int, proto.MaxFlashRegions+1)...)
	for _, c := range m.chips {
		c.data = []byte{1, 2}
	}
	inBubble(t, m, FlashConfig{}, func(r *flashRig) {
		r.Wait(r.Context(), time.Minute)
		_, _, un := r.Regions()
		wantCause(t, un, proto.CauseTooLarge, "129 regions")
		m.do(func() { m.regions = m.regions[:proto.MaxFlashRegions] })
		r.later(time.Hour)
		if got, _ := r.get(); len(got) != proto.MaxFlashRegions || r.changes != 1 {
			t.Errorf("%d regions, %d changes", len(got), r.changes)
		}
	})
	layout := &flash.Layout{}
	for i := range proto.MaxFlashRegions {
		x := flash.Region{Name: fmt.Sprintf("r%03d", i), Source: flash.Source{Kind: flash.MTD, Name: strings.Repeat("x", 200)}}
		for j := range proto.MaxFlashRanges {
			x.Exclude = append(x.Exclude, flash.Range{Offset: 1<<40 + uint64(2*j), Length: 1})
		}
		layout.Regions = append(layout.Regions, x)
	}
	inBubble(t, newFakeFlash(), FlashConfig{Layout: layout}, func(r *flashRig) {
		r.Wait(r.Context(), time.Minute)
		_, _, un := r.Regions()
		wantCause(t, un, proto.CauseTooLarge, "list those that matter")
	})
	layout = &flash.Layout{Regions: []flash.Region{{Name: "all", Source: flash.Source{Kind: flash.File, Name: "/*"}}}}
	m = newFakeFlash(make([]int, proto.MaxFlashRegions+1)...)
	m.expand = map[string][]flash.Region{"all": m.regions}
	inBubble(t, m, FlashConfig{Layout: layout}, func(r *flashRig) {
		r.Wait(r.Context(), time.Minute)
		got, _ := r.get()
		if len(got) != 1 {
			t.Fatalf("%d regions", len(got))
		}
		wantCause(t, got[0].Unavailable, proto.CauseTooLarge, "narrow the pattern")
	})
}

// TestFlashOfFiles reads through package flash itself, below a root.
func TestFlashOfFiles(t *testing.T) {
	tr := newTree(t)
	image := bytes.Repeat([]byte("firmware"), 20_000)
	tr.write("lib/firmware/modem.bin", string(image))
	tr.link("/lib/firmware/modem.bin", "lib/firmware/current.bin")
	layout, err := flash.ParseLayout([]byte("regions:\n  - {name: modem, source: 'file:/lib/firmware/*.bin', exclude: [{offset: 8, length: 8}]}\n" +
		"  - {name: none, source: 'file:/lib/firmware/none'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	f := NewFlash(FlashConfig{Root: tr.dir, Layout: layout})
	if !f.Wait(t.Context(), time.Minute) {
		t.Fatal("the first pass does not end")
	}
	b, _, un := f.Regions()
	var m proto.Flash
	if err := errors.Join(proto.Decode(b, &m), f.Close()); err != nil || un != nil {
		t.Fatal(err, un)
	}
	copy(image[8:], bytes.Repeat([]byte{0xff}, 8))
	for i, name := range []string{"modem/current.bin", "modem/modem.bin"} {
		r := m.Regions[i]
		if r.Name != name || !bytes.Equal(r.Digest, digest(image)) || r.Source != "file:/lib/firmware/"+filepath.Base(name) {
			t.Errorf("region %+v, want %s with digest %x", r, name, digest(image))
		}
	}
	if len(m.Regions) != 3 {
		t.Fatalf("%d regions, want 3", len(m.Regions))
	}
	wantCause(t, m.Regions[2].Unavailable, proto.CauseNotFound, "/lib/firmware/none")
}

// Whatever flash this machine has, its description can be sent.
func TestFlashOfThisMachine(t *testing.T) {
	regions, errs := flash.Machine{}.Discover()
	m := &proto.Flash{}
	for _, r := range regions {
		m.Regions = append(m.Regions, (&region{Region: r}).describe("later"))
	}
	t.Logf("%d regions, %v", len(regions), errs)
	if len(regions) == 0 {
		t.Skip("skipped: this machine shows no flash")
	}
	f := NewFlash(FlashConfig{Rate: 1 << 20})
	defer f.Close()
	f.Wait(t.Context(), 5*time.Second)
	if b, _, un := f.Regions(); un != nil || len(b) == 0 {
		t.Errorf("Regions = %d bytes, %v", len(b), un)
	}
}
