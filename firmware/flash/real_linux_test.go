package flash

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/firmware/hostfs"
)

const (
	loopSetFD   = 0x4c00 // LOOP_SET_FD (linux/loop.h)
	loopClearFD = 0x4c01
	loopGetFree = 0x4c82 // LOOP_CTL_GET_FREE
)

// loopDevice attaches a file to a free loop device, and skips the test where that can not be.
func loopDevice(t *testing.T, content []byte) (device string) {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	defer control.Close()
	n, _, code := syscall.Syscall(syscall.SYS_IOCTL, control.Fd(), loopGetFree, 0)
	if code != 0 {
		t.Skipf("no free loop device: %v", code)
	}
	device = "/dev/loop" + strconv.Itoa(int(n))
	backing := filepath.Join(t.TempDir(), "backing")
	if err := os.WriteFile(backing, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(backing, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	loop, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no loop device: %v", err)
	}
	defer loop.Close()
	if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, loop.Fd(), loopSetFD, f.Fd()); code != 0 {
		t.Skipf("attach %s: %v", device, code)
	}
	t.Cleanup(func() {
		loop, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer loop.Close()
		if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, loop.Fd(), loopClearFD, 0); code != 0 {
			t.Errorf("detach %s: %v", device, code)
		}
	})
	return device
}

// TestRealBlockDevice reads a loop device.
func TestRealBlockDevice(t *testing.T) {
	content := random(1 << 20)
	device := loopDevice(t, content)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(device, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{device, link} {
		r, err := Machine{}.Open(Source{Block, name})
		if err != nil {
			t.Fatal(err)
		}
		c := r.Describe()
		if r.Size() != 1<<20 || c.Kind != Block || c.Device != name || c.Partition || c.ReadOnly {
			t.Errorf("Describe(%s) = %+v of %d bytes", name, c, r.Size())
		}
		region := Region{Name: "x", Offset: 4097, Length: 500_001, Exclude: []Range{{77, 1000}}}
		sum, err := Hash(context.Background(), r, region, HashOptions{})
		if want := plainHash(content[4097:504_098], region.Exclude); err != nil || sum.Digest != want || sum.Generation != "" {
			t.Errorf("Hash(%s) = %+v, %v, want %x and no generation", name, sum, err, want)
		}
		flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, r.(*fileReader).file.Fd(), syscall.F_GETFL, 0)
		if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
			t.Errorf("%s is open with flags %#o, want O_RDONLY", name, flags)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []Source{{File, device}, {Block, "/dev/null"}, {Block, "/proc/self/stat"}} {
		if r, err := (Machine{}).Open(s); r != nil || !errors.Is(err, errNotBlock) && !errors.Is(err, hostfs.ErrNotRegular) {
			t.Errorf("Open(%v) = %v, %v, want it refused for its type", s, r, err)
		}
	}
}

// TestRealDiskGeneration asks the kernel about the disks of this machine, of which nothing is read.
func TestRealDiskGeneration(t *testing.T) {
	disks, err := tree("/").names("sys/block")
	if err != nil {
		t.Skipf("no block devices here: %v", err)
	}
	seen := map[string]string{}
	for _, name := range disks {
		r, err := Machine{}.Open(Source{Block, "/dev/" + name})
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		if token, ok := r.Generation(); ok {
			if other := seen[token]; other != "" {
				t.Errorf("Generation(%s) = %q, that of %s", name, token, other)
			}
			seen[token] = name
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(seen) == 0 {
		t.Skipf("none of %v has a generation: all are virtual or not to be opened", disks)
	}
	t.Log(seen)
}

// testMTD returns the MTD devices that exist for tests: those of mtdram and nandsim, never real flash.
func testMTD(t *testing.T) []mtdInfo {
	t.Helper()
	numbers, err := tree("/").mtdNumbers()
	if err != nil {
		t.Skipf("no MTD devices here: %v: modprobe mtdram, or nandsim badblocks=2,3,9,30, for some to test with", err)
	}
	var out []mtdInfo
	for _, n := range numbers {
		i, err := tree("/").mtdInfo(n)
		if err != nil {
			t.Fatal(err)
		}
		if i.chip.Label == "mtdram test device" && i.chip.Type == "ram" || strings.HasPrefix(i.chip.Label, "NAND simulator") {
			out = append(out, i)
		}
	}
	if len(out) == 0 {
		t.Skip("none of the MTD devices is mtdram's or nandsim's, and real flash is not for tests: modprobe one of them")
	}
	return out
}

// TestRealMTD writes the test devices of the kernel through their writable node, and reads them through this package.
func TestRealMTD(t *testing.T) {
	for _, i := range testMTD(t) {
		t.Run(i.chip.Label, func(t *testing.T) {
			size := min(i.chip.Size, 4<<20)
			content := random(int(size))
			var bad []Range
			good, err := writeMTD(t, i, content, &bad)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v: %d good bytes, bad %v", i.chip, len(good), bad)
			for _, s := range []Source{{MTD, i.chip.Label}, mtdSource(i.number)} {
				r, err := Machine{}.Open(s)
				if err != nil {
					t.Fatal(err)
				}
				if c := r.Describe(); !strings.HasSuffix(c.Device, "ro") || c.Size != i.chip.Size || c.EraseSize == 0 {
					t.Errorf("Describe(%v) = %+v", s, c)
				}
				region := Region{Name: "x", Length: size, Exclude: []Range{{1000, 70_000}}}
				sum, err := Hash(context.Background(), r, region, HashOptions{})
				if want := plainHash(good, region.Exclude); err != nil || sum.Digest != want {
					t.Errorf("Hash(%v) = %x, %v, want %x", s, sum.Digest, err, want)
				}
				if diff := cmp.Diff(bad, sum.Bad); diff != "" {
					t.Errorf("Hash(%v): bad blocks (-want +got):\n%s", s, diff)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
			checkDiscovered(t, i)
		})
	}
}

// writeMTD erases and writes a test device as nandwrite does, and returns what reading must give.
func writeMTD(t *testing.T, i mtdInfo, content []byte, bad *[]Range) ([]byte, error) {
	f, err := os.OpenFile("/dev/"+i.source().Name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	good := make([]byte, 0, len(content))
	block := int(i.chip.EraseSize)
	for at := 0; at < len(content); at += block {
		if is, err := badBlock(f, uint64(at)); err != nil {
			return nil, err
		} else if is {
			if n := len(*bad); n > 0 && (*bad)[n-1].End() == uint64(at) {
				(*bad)[n-1].Length += uint64(block)
			} else {
				*bad = append(*bad, Range{uint64(at), uint64(block)})
			}
			continue
		}
		if err := eraseMTD(f, uint32(at), uint32(block)); err != nil {
			return nil, err
		}
		if _, err := f.WriteAt(content[len(good):len(good)+block], int64(at)); err != nil {
			return nil, err
		}
		good = content[:len(good)+block]
	}
	good = append([]byte(nil), good...)
	for len(good) < len(content) {
		good = append(good, 0xff)
	}
	return good, nil
}

// checkDiscovered checks that Discover names a device and that its digest is that of what the kernel hands out.
func checkDiscovered(t *testing.T, i mtdInfo) {
	t.Helper()
	regions, errs := Machine{}.Discover()
	if len(errs) > 0 {
		t.Errorf("Discover: %v", errs)
	}
	for _, r := range regions {
		if r.Source == i.source() {
			if r.Length != i.chip.Size || r.Name != i.chip.Label {
				t.Errorf("Discover = %+v, want all of %+v", r, i.chip)
			}
			return
		}
	}
	t.Errorf("Discover = %v, want %v in it", regions, i.source())
}
