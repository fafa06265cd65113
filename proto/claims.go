package proto

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// Claims is what a device says beside PCRs (EAT, RFC 9711, section 4, calls these claims). All are self-asserted, but
// fresh and unalterable in flight.
type Claims struct {
	Agent    string    `cbor:"1,keyasint"` // version of the agent
	BootID   []byte    `cbor:"2,keyasint"`
	Bank     uint16    `cbor:"3,keyasint,omitempty"` // TPM_ALG_ID of the quoted bank
	BootLog  Item      `cbor:"4,keyasint"`
	IMA      IMAStatus `cbor:"5,keyasint"`
	Platform Item      `cbor:"6,keyasint"`

	Flash  *FlashStatus `cbor:"7,keyasint,omitempty"` // absent: the agent has no flash to read
	Tamper []TamperLine `cbor:"8,keyasint,omitempty"`
}

// Item is content that could be read, or the reason why not.
type Item struct {
	Content     *Content     `cbor:"1,keyasint,omitempty"`
	Unavailable *Unavailable `cbor:"2,keyasint,omitempty"`
}

// IMAStatus says how long the IMA list was before the quote, or why there is none.
type IMAStatus struct {
	Count       uint64       `cbor:"1,keyasint,omitempty"`
	Unavailable *Unavailable `cbor:"2,keyasint,omitempty"`
}

// FlashStatus says what is in flash memory, as the running system reads it.
type FlashStatus struct {
	Regions Item   `cbor:"1,keyasint"`           // an encoded Flash
	Age     uint32 `cbor:"2,keyasint,omitempty"` // seconds since the oldest of its digests was read
}

// TamperState is what a tamper line shows.
type TamperState uint8

// Tamper states.
const (
	TamperClosed TamperState = 1
	TamperOpen   TamperState = 2 // the enclosure is open
)

// TamperLine is a contact of the enclosure, read from a GPIO line. Exactly one of State and Unavailable is set.
type TamperLine struct {
	Name        string       `cbor:"1,keyasint"`
	State       TamperState  `cbor:"2,keyasint,omitempty"`
	Openings    uint32       `cbor:"3,keyasint,omitempty"` // how often it opened since the agent began to watch it
	Unavailable *Unavailable `cbor:"4,keyasint,omitempty"`
}

// Cause is why something could not be read.
type Cause string

// Causes.
const (
	CauseNotFound   Cause = "not-found"     // there is no such file or device
	CausePermission Cause = "permission"    // the agent may not read it
	CauseTooLarge   Cause = "too-large"     // over the limits of this protocol
	CauseMalformed  Cause = "malformed"     // not in the format that it should have
	CauseIO         Cause = "io-error"      // the read failed
	CauseNotAllowed Cause = "not-allowed"   // the owner's charter keeps it on the device
	CauseNoSupport  Cause = "not-supported" // this machine has no such feature
	CausePending    Cause = "pending"       // it is still being read: a later report has it
)

// Unavailable is a first-class value: what could not be read, and why.
type Unavailable struct {
	Cause  Cause  `cbor:"1,keyasint"`
	Reason string `cbor:"2,keyasint"`
}

// Error makes Unavailable an error for the code that collects.
func (u *Unavailable) Error() string { return string(u.Cause) + ": " + u.Reason }

// Platform is the self-asserted description of the machine, content named by Claims.Platform.
type Platform struct {
	Vendor          string            `cbor:"1,keyasint,omitempty"` // SMBIOS system manufacturer or devicetree vendor
	Model           string            `cbor:"2,keyasint,omitempty"` // SMBIOS product name or devicetree model
	Board           string            `cbor:"3,keyasint,omitempty"`
	FirmwareVendor  string            `cbor:"4,keyasint,omitempty"`
	FirmwareVersion string            `cbor:"5,keyasint,omitempty"`
	FirmwareDate    string            `cbor:"6,keyasint,omitempty"`
	Architecture    string            `cbor:"7,keyasint,omitempty"`
	Kernel          string            `cbor:"8,keyasint,omitempty"`
	CommandLine     string            `cbor:"9,keyasint,omitempty"`
	OS              string            `cbor:"10,keyasint,omitempty"` // PRETTY_NAME of os-release
	SecureBoot      string            `cbor:"11,keyasint,omitempty"` // "on", "off" or absent
	Firmware        []FirmwareVersion `cbor:"12,keyasint,omitempty"` // EFI System Resource Table
	Unavailable     map[string]string `cbor:"13,keyasint,omitempty"` // what could not be read: why
	Devices         []BusDevice       `cbor:"14,keyasint,omitempty"` // hardware inventory, in order of Bus and Address
}

// BusDevice is a piece of hardware that the kernel found or was told of. Serial numbers are not part of it.
type BusDevice struct {
	Bus     string `cbor:"1,keyasint" json:"bus"`     // "pci", "i2c", "spi" or "mmc"
	Address string `cbor:"2,keyasint" json:"address"` // on the bus, as sysfs names it: "0000:00:1f.2", "3-0050", "spi0.0"
	Name    string `cbor:"3,keyasint" json:"name"`    // what it is: "8086:2922 class 010601", a driver's or devicetree name
}

// FirmwareVersion is an entry of the EFI System Resource Table (UEFI 2.10, section 23.4).
type FirmwareVersion struct {
	Class   string `cbor:"1,keyasint" json:"class"` // GUID
	Version uint32 `cbor:"2,keyasint" json:"version"`
	Lowest  uint32 `cbor:"3,keyasint" json:"lowest"` // lowest supported version
}

func (m *Claims) validate() error {
	if m.IMA.Unavailable != nil && m.IMA.Count != 0 {
		return errors.New("ima (5): both a count and a reason for its absence")
	}
	if err := m.validateTamper(); err != nil {
		return err
	}
	if m.Flash != nil {
		if err := m.Flash.Regions.validate("flash (7)", MaxFlash); err != nil {
			return err
		}
	}
	return errors.Join(
		text("agent (1)", m.Agent, MaxText),
		exact("boot-id (2)", m.BootID, BootIDSize),
		m.BootLog.validate("boot-log (4)", MaxBootLog),
		m.IMA.Unavailable.validate("ima (5)"),
		m.Platform.validate("platform (6)", MaxPlatform),
	)
}

func (m *Claims) validateTamper() error {
	if n := len(m.Tamper); n > MaxTamperLines {
		return fmt.Errorf("tamper (8): %d lines, at most %d allowed", n, MaxTamperLines)
	}
	seen := map[string]bool{}
	for i := range m.Tamper {
		l := &m.Tamper[i]
		switch {
		case l.Name == "" || seen[l.Name]:
			return fmt.Errorf("tamper (8): line %d has no name of its own: %q", i, clip(l.Name))
		case l.State > TamperOpen:
			return fmt.Errorf("tamper (8): line %q: unknown state %d", clip(l.Name), l.State)
		case (l.State == 0) == (l.Unavailable == nil):
			return fmt.Errorf("tamper (8): line %q: want either a state or the reason for its absence", clip(l.Name))
		case l.Unavailable != nil && l.Openings != 0:
			return fmt.Errorf("tamper (8): line %q: openings of a line that cannot be read", clip(l.Name))
		}
		seen[l.Name] = true
		if err := errors.Join(text("tamper (8)", l.Name, MaxText), l.Unavailable.validate("tamper (8)")); err != nil {
			return err
		}
	}
	return nil
}

func (m Item) validate(name string, limit uint32) error {
	if (m.Content == nil) == (m.Unavailable == nil) {
		return fmt.Errorf("%s: want either content or the reason for its absence", name)
	}
	if m.Unavailable != nil {
		return m.Unavailable.validate(name)
	}
	if m.Content.Size == 0 {
		return fmt.Errorf("%s: empty content", name)
	}
	return m.Content.validate(name, limit)
}

func (m *Unavailable) validate(name string) error {
	if m == nil {
		return nil
	}
	switch m.Cause {
	case CauseNotFound, CausePermission, CauseTooLarge, CauseMalformed, CauseIO, CauseNotAllowed, CauseNoSupport,
		CausePending:
	default:
		return fmt.Errorf("%s: unknown cause %q", name, clip(string(m.Cause)))
	}
	return text(name, m.Reason, MaxReason)
}

func (m *Platform) validate() error {
	if len(m.Firmware) > 64 || len(m.Unavailable) > 32 {
		return fmt.Errorf("%d firmware versions, %d unavailable: at most 64 and 32 allowed", len(m.Firmware), len(m.Unavailable))
	}
	if err := validateDevices(m.Devices); err != nil {
		return err
	}
	for _, s := range []string{
		m.Vendor, m.Model, m.Board, m.FirmwareVendor, m.FirmwareVersion, m.FirmwareDate,
		m.Architecture, m.Kernel, m.OS, m.SecureBoot,
	} {
		if err := text("platform", s, MaxText); err != nil {
			return err
		}
	}
	for k, v := range m.Unavailable {
		if err := errors.Join(text("unavailable (13)", k, MaxText), text("unavailable (13)", v, MaxReason)); err != nil {
			return err
		}
	}
	for _, f := range m.Firmware {
		if err := text("firmware (12)", f.Class, MaxText); err != nil {
			return err
		}
	}
	return text("command-line (9)", m.CommandLine, 4096)
}

func validateDevices(list []BusDevice) error {
	if len(list) > MaxDevices {
		return fmt.Errorf("devices (14): %d, at most %d allowed", len(list), MaxDevices)
	}
	for i, d := range list {
		if d.Bus == "" || d.Address == "" {
			return fmt.Errorf("devices (14): number %d has no bus or no address", i)
		}
		if i > 0 && cmp.Or(strings.Compare(list[i-1].Bus, d.Bus), strings.Compare(list[i-1].Address, d.Address)) >= 0 {
			return fmt.Errorf("devices (14): %s %s is not in ascending order of bus and address", clip(d.Bus), clip(d.Address))
		}
		if err := errors.Join(text("devices (14)", d.Bus, MaxText), text("devices (14)", d.Address, MaxText),
			text("devices (14)", d.Name, MaxText)); err != nil {
			return err
		}
	}
	return nil
}
