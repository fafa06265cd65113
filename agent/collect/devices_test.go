package collect

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/probity-attest/probity/proto"
)

// device makes a device as sysfs shows it: a link to its place in the tree of all devices.
func (t tree) device(bus, address string, files ...string) {
	t.link("../../../devices/"+address, "sys/bus/"+bus+"/devices/"+address)
	t.write("sys/devices/"+address+"/uevent", "")
	for i := 0; i < len(files); i += 2 {
		t.write("sys/devices/"+address+"/"+files[i], files[i+1]+"\n")
	}
}

func (t tree) pci(address, vendor, device, class string) {
	t.device("pci", address, "vendor", vendor, "device", device, "class", class)
}

func TestDevices(t *testing.T) {
	tr := newTree(t)
	tr.pci("0000:00:1f.2", "0x8086", "0x2922", "0x010601")
	tr.pci("0000:00:02.0", "0x1af4", "0x1000", "0x020000")
	tr.device("i2c", "i2c-3", "name", "SMBus adapter")
	tr.device("i2c", "3-0050", "name", "24c32")
	tr.device("i2c", "i2c-SYNA7DB5:00", "name", "SYNA7DB5:00")
	tr.device("spi", "spi0.0", "modalias", "spi:m25p80")
	tr.device("spi", "spi1.0")
	tr.device("mmc", "mmc0:0001", "type", "MMC", "name", "DG4008", "manfid", "0x000045", "oemid", "0x0100", "serial", "0xdeadbeef", "cid", "secret")
	tr.device("mmc", "mmc1:59b4", "type", "SD", "name", "SU08G", "manfid", "0x000003", "oemid", "0x5344", "serial", "0xdeadbeef")
	p := describe(t, tr)
	want := []proto.BusDevice{
		{Bus: "i2c", Address: "3-0050", Name: "24c32"},
		{Bus: "i2c", Address: "i2c-SYNA7DB5:00", Name: "SYNA7DB5:00"},
		{Bus: "mmc", Address: "mmc0:0001", Name: "MMC 000045:0100 DG4008"},
		{Bus: "mmc", Address: "mmc1", Name: "SD 000003:5344 SU08G"}, // the rest of its address differs between cards
		{Bus: "pci", Address: "0000:00:02.0", Name: "1af4:1000 class 020000"},
		{Bus: "pci", Address: "0000:00:1f.2", Name: "8086:2922 class 010601"},
		{Bus: "spi", Address: "spi0.0", Name: "m25p80"},
		{Bus: "spi", Address: "spi1.0"},
	}
	if diff := cmp.Diff(want, p.Devices); diff != "" || p.Unavailable["devices"] != "" {
		t.Errorf("devices (-want +got):\n%s%s", diff, p.Unavailable["devices"])
	}
}

// A machine with more hardware than fits says so, and always leaves out the same.
func TestManyDevices(t *testing.T) {
	tr := newTree(t)
	tr.write("sys/bus/pci/devices/0000:00:00.0/vendor/x", "") // one that cannot be read
	for i := 1; i < proto.MaxDevices+3; i++ {
		tr.pci(fmt.Sprintf("0000:%02x:%02x.0", i/32, i%32), "0x8086", "0x2922", "0x010601")
	}
	p := describe(t, tr)
	if n := len(p.Devices); n != proto.MaxDevices || p.Devices[n-1].Address != "0000:07:1f.0" {
		t.Errorf("%d devices, the last %v", n, p.Devices[n-1])
	}
	for _, want := range []string{"too-large: 3 devices", "; malformed: "} {
		if got := p.Unavailable["devices"]; !strings.Contains(got, want) {
			t.Errorf("reason %q, want %q in it", got, want)
		}
	}
}

// However long names are, the description can be sent (describe checks it) with as many devices as fit.
func TestLargeDevices(t *testing.T) {
	tr := newTree(t)
	pc(tr)
	tr.write("proc/cmdline", strings.Repeat("x", maxCommandLine))
	for i := range maxResources {
		tr.esrt(i, "11111111-2222-3333-4444-555555555555", "4294967295", "4294967295")
	}
	for i := range proto.MaxDevices {
		address := fmt.Sprintf("%03d-%s", i, strings.Repeat("a", maxAddress-4))
		tr.device("i2c", address, "name", strings.Repeat("n", 2*maxDeviceName))
	}
	p := describe(t, tr)
	b, err := proto.Encode(&p)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) < proto.MaxPlatform-2*(maxAddress+maxDeviceName) || len(p.Devices) == proto.MaxDevices {
		t.Errorf("%d bytes with %d devices, want the description filled up to %d bytes", len(b), len(p.Devices), proto.MaxPlatform)
	}
	left := fmt.Sprintf("too-large: %d devices are left out", proto.MaxDevices+1-len(p.Devices))
	if got := p.Unavailable["devices"]; !strings.Contains(got, left) {
		t.Errorf("reason %q, want %q in it", got, left)
	}
	if !slices.IsSortedFunc(p.Devices, func(a, b proto.BusDevice) int {
		return strings.Compare(a.Bus+a.Address, b.Bus+b.Address)
	}) {
		t.Error("not in order")
	}
}

func TestEndlessBus(t *testing.T) {
	tr := newTree(t)
	for i := range maxBus + 1 {
		tr.link("nowhere", fmt.Sprintf("sys/bus/spi/devices/spi%d.0", i))
	}
	p := describe(t, tr)
	if len(p.Devices) != proto.MaxDevices || !strings.Contains(p.Unavailable["devices"], "over 1024 entries") {
		t.Errorf("%d devices, reason %q", len(p.Devices), p.Unavailable["devices"])
	}
}
