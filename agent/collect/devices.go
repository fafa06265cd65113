package collect

import (
	"maps"
	"slices"
	"strings"

	"github.com/probity-attest/probity/proto"
)

// buses are what an inventory looks at, in ascending order: hardware that is soldered or plugged in for good. USB is left
// out, whose devices come and go.
var buses = []struct {
	name     string
	describe func(d *describer, dir, entry string) (address, name string) // no address: no device
}{
	{"i2c", (*describer).i2c},
	{"mmc", (*describer).mmc},
	{"pci", (*describer).pci},
	{"spi", (*describer).spi},
}

const busDir = "sys/bus"

// devices makes the inventory from sysfs (Documentation/ABI/testing/sysfs-bus-*). Serial numbers are not read.
func (d *describer) devices() {
	known := 0
	for _, b := range buses {
		dir := busDir + "/" + b.name + "/devices"
		entries, err := d.root.names(dir, maxBus+1)
		if isMissing(err) {
			continue
		}
		known++
		if err != nil {
			d.missing(keyDevices, d.root.unavailable(dir, err))
			continue
		}
		if len(entries) > maxBus {
			d.missing(keyDevices, unavailable(proto.CauseTooLarge, "over %d entries in %s: those beyond are left out",
				maxBus, d.root.show(dir)))
			entries = entries[:maxBus]
		}
		found := map[string]string{} // names by address
		for _, entry := range entries {
			if len(entry) > maxAddress || clean([]byte(entry), maxAddress) != entry {
				d.missing(keyDevices, unavailable(proto.CauseMalformed, "%s: %q is no address", d.root.show(dir), clean([]byte(entry), 64)))
				continue
			}
			if address, name := b.describe(d, dir+"/"+entry+"/", entry); address != "" {
				found[address] = name
			}
		}
		for _, address := range slices.Sorted(maps.Keys(found)) {
			d.Devices = append(d.Devices, proto.BusDevice{Bus: b.name, Address: address, Name: found[address]})
		}
	}
	if known == 0 {
		d.missing(keyDevices, unavailable(proto.CauseNotFound, "none of the buses i2c, mmc, pci and spi is in %s", d.root.show(busDir)))
	}
	if over := len(d.Devices) - proto.MaxDevices; over > 0 {
		d.cutDevices(over)
	}
}

// cutDevices leaves out the last n devices and says so.
func (d *describer) cutDevices(n int) {
	if d.left == 0 {
		d.unread = d.Unavailable[keyDevices]
	}
	d.left += n
	d.Devices = d.Devices[:len(d.Devices)-n]
	reason := unavailable(proto.CauseTooLarge, "%d devices are left out, in order of bus and address the last: an "+
		"inventory has at most %d, and a platform %d bytes", d.left, proto.MaxDevices, proto.MaxPlatform)
	if d.unread != "" {
		reason.Reason += "; " + d.unread
	}
	delete(d.Unavailable, keyDevices)
	d.missing(keyDevices, reason)
}

// fit shortens the inventory until the whole description can be sent.
func (d *describer) fit() {
	for len(d.Devices) > 0 {
		b, err := proto.Encode(&d.Platform)
		if err != nil || len(b) <= proto.MaxPlatform {
			return
		}
		d.cutDevices(min(len(d.Devices), 1+(len(b)-proto.MaxPlatform)/maxDevice))
	}
}

// pci describes a function on a PCI bus by its ids and class (PCI Local Bus Specification 3.0, section 6.2.1).
func (d *describer) pci(dir, entry string) (address, name string) {
	id := func(file string) string { return strings.TrimPrefix(d.deviceText(dir+file), "0x") }
	return entry, id("vendor") + ":" + id("device") + " class " + id("class")
}

// i2c describes a chip on an I2C bus by the name that devicetree, ACPI or board code gave it. The buses themselves, which
// sysfs lists beside the chips, are none.
func (d *describer) i2c(dir, entry string) (address, name string) {
	if strings.HasPrefix(entry, "i2c-") && !strings.Contains(entry, ":") {
		return "", ""
	}
	return entry, d.deviceText(dir + "name")
}

// spi describes a chip on an SPI bus by what the kernel matches drivers with.
func (d *describer) spi(dir, entry string) (address, name string) {
	return entry, strings.TrimPrefix(d.deviceText(dir+"modalias"), "spi:")
}

// mmc describes a card by type, manufacturer, OEM and product. An eMMC chip has the address that the kernel gave it; that
// of an SD card is its own choice, another one in each card, and no part of an inventory.
func (d *describer) mmc(dir, entry string) (address, name string) {
	kind := d.deviceText(dir + "type")
	if kind != "MMC" {
		entry, _, _ = strings.Cut(entry, ":")
	}
	hex := func(file string) string { return strings.TrimPrefix(d.deviceText(dir+file), "0x") }
	name = strings.TrimSpace(kind + " " + hex("manfid") + ":" + hex("oemid") + " " + d.deviceText(dir+"name"))
	return entry, clean([]byte(name), maxDeviceName)
}

// deviceText reads what a device says of itself; "" where it says nothing. Where it cannot be read the reason is noted.
func (d *describer) deviceText(name string) string {
	b, err := d.root.read(name, maxText)
	if err != nil {
		if !isMissing(err) {
			d.missing(keyDevices, d.root.unavailable(name, err))
		}
		return ""
	}
	return clean(b, maxDeviceName)
}
