// Package collect reads what this machine says of itself: the firmware's boot event log, the measurement list of the
// Integrity Measurement Architecture (IMA), who made the machine, what is built in and what runs on it (Collector), what
// is in its flash (Flash) and whether its enclosure is open (Tamper). The last two work in the background, since reading
// flash takes minutes and an enclosure can be opened between two reports.
//
// What cannot be read is a value, proto.Unavailable, with its cause and a reason that says what to do: an error never
// keeps a device from attesting, and nothing is left out silently. Files are opened read-only, must be regular and are
// read to a bound, so that no named pipe or endless file holds the agent up; memory grows with what is there, not with
// the bound. Of the IMA list, which only ever grows, no more than the wanted segment is held.
//
// All of it is what the kernel tells: the boot log and IMA list are proved by replay against a quote, everything else
// stays self-asserted.
//
// Sources: Linux Documentation/ABI (securityfs, sysfs-firmware-dmi-entries, sysfs-firmware-efi-esrt,
// testing/ima_policy, sysfs-bus-*), userspace-api/gpio/chardev, proc(5), os-release(5); UEFI 2.10, sections 3.3 and 23.4.
package collect

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/probity-attest/probity/proto"
)

// Config says where to look. Its zero value is right outside containers.
type Config struct {
	// Root is the directory below which sys, proc and etc of the machine are found: "/" if empty, such as "/host" in a
	// container that has the host's file system there. Absolute symbolic links are followed below it.
	Root string
}

// Collector reads this machine. It is safe for concurrent use.
type Collector struct {
	root root

	mu   sync.Mutex // guards what follows, and lets one caller at a time read the IMA list
	boot string     // boot of which the marks are
	from mark       // where the last segment began
	end  mark       // how far the list was last read
}

// New returns a Collector.
func New(c Config) *Collector {
	if c.Root == "" {
		c.Root = "/"
	}
	return &Collector{root: root(filepath.Clean(c.Root))}
}

// BootLog returns the boot event log in the format of the TCG's PC Client Platform Firmware Profile, section 10, of 1 to
// proto.MaxBootLog bytes. It is not parsed here: even a log that makes no sense is evidence.
func (c *Collector) BootLog() ([]byte, *proto.Unavailable) {
	const name = securityfs + "/tpm0/binary_bios_measurements"
	b, err := c.root.read(name, proto.MaxBootLog)
	switch {
	case isMissing(err):
		return nil, c.notInSecurityfs(name, "the kernel has no TPM driver for this machine, or its firmware or boot loader "+
			"hands over no log (GRUB without Secure Boot does not)")
	case err != nil:
		return nil, c.root.unavailable(name, err)
	case len(b) == 0:
		return nil, unavailable(proto.CauseMalformed, "%s is empty", c.root.show(name))
	}
	return b, nil
}

// BootID returns the random identity of this boot, proto.BootIDSize bytes (random(4)). In a container it is the host's.
func (c *Collector) BootID() ([]byte, error) {
	const name = "proc/sys/kernel/random/boot_id"
	b, err := c.root.read(name, maxText)
	if err != nil {
		return nil, fmt.Errorf("boot id: %w", err)
	}
	id, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(b)), "-", ""))
	if err != nil || len(id) != proto.BootIDSize {
		return nil, fmt.Errorf("boot id: %s: want a UUID, got %q", c.root.show(name), clean(b, 64))
	}
	return id, nil
}
