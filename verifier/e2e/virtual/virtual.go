// Package virtual makes devices that are real to an agent: a swtpm with a seed and an EK certificate of its own, whose PCRs
// were extended with the events of a captured boot log and the entries of a captured IMA list, and a folder that looks
// like the machine's /sys and /proc. Quote, log and PCRs fit together as on hardware, unless the device is told to lie.
package virtual

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/eventlog"
	"github.com/probity-attest/probity/firmware/ima"
	"github.com/probity-attest/probity/firmware/pcr"
)

// Machine is what a virtual device boots and what it shows.
type Machine struct {
	Vendor, Model, Firmware string // as in SMBIOS
	Booted                  []byte // boot log whose events were measured
	Shown                   []byte // boot log that the device shows; nil: Booted
	IMA                     []byte // IMA list; its boot_aggregate is made to fit. nil: none
	CommandLine             string
	SecureBootOff           bool            // what the EFI variable says
	Banks                   []pcr.Algorithm // active banks of its TPM; nil: SHA-256
	Flash                   []byte          // content of its flash chip, shown in FlashPath; nil: none
}

// Device is a virtual device. End it with Stop.
type Device struct {
	TPM  *tpmtest.Swtpm
	Root string // folder that looks like the machine's file system
	dir  string
}

// Start manufactures a device below dir: its TPM gets an EK certificate from ca (nil: none) and boots. It runs until Stop
// or until ctx ends.
func Start(ctx context.Context, dir string, ca *tpmtest.CA, m Machine) (*Device, error) {
	d := &Device{dir: dir, Root: filepath.Join(dir, "root")}
	state := filepath.Join(dir, "tpm")
	for _, f := range []string{d.Root, state} {
		if err := os.MkdirAll(f, 0o700); err != nil {
			return nil, err
		}
	}
	var err error
	if m.Banks == nil {
		m.Banks = []pcr.Algorithm{pcr.SHA256}
	}
	d.TPM, err = tpmtest.Launch(ctx, tpmtest.Options{Dir: state, Banks: m.Banks})
	if err != nil {
		return nil, err
	}
	if err := d.manufacture(ca); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	if err := d.Boot(m); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

func (d *Device) manufacture(ca *tpmtest.CA) error {
	if ca == nil {
		return nil
	}
	t, err := d.TPM.Open()
	if err != nil {
		return err
	}
	defer t.Close()
	return tpmtest.Manufacture(t, ca, tpmtest.P256)
}

// Boot cuts the power and boots the machine: new PCRs, new boot id, new logs.
func (d *Device) Boot(m Machine) error {
	log, err := eventlog.Parse(m.Booted)
	if err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	if err := d.TPM.ReplayLog(log); err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	list, err := d.measure(log, m.IMA)
	if err != nil {
		return fmt.Errorf("boot: IMA: %w", err)
	}
	if m.Shown == nil {
		m.Shown = m.Booted
	}
	return d.show(m, list)
}

// measure starts IMA: the list's boot_aggregate becomes that of this boot, as the kernel computes it.
func (d *Device) measure(log *eventlog.Log, list []byte) ([]byte, error) {
	if list == nil {
		return nil, nil
	}
	bank, err := log.Replay(pcr.SHA256)
	if err != nil {
		return nil, err
	}
	full := pcr.Reset(pcr.SHA256)
	for _, i := range bank.Present().Indices() {
		if err := full.Set(i, bank.Value(i)); err != nil {
			return nil, err
		}
	}
	var b ima.Builder
	if err := b.AppendList(list); err != nil {
		return nil, err
	}
	if err := b.SetBootAggregate(pcr.SHA256, ima.BootAggregate(full, pcr.SHA256)); err != nil {
		return nil, err
	}
	list = b.Bytes()
	return list, d.Extend(list)
}

// Extend extends PCR 10 with the entries of a list.
func (d *Device) Extend(list []byte) error {
	t, err := d.TPM.Open()
	if err != nil {
		return err
	}
	defer t.Close()
	return tpmtest.ReplayIMA(t, list, ima.Recomputed)
}

// Paths of the folder that Root is.
const (
	bootLogPath = "sys/kernel/security/tpm0/binary_bios_measurements"
	imaPath     = "sys/kernel/security/ima/binary_runtime_measurements"
)

// Ran measures a file that the running machine executes: PCR 10 first, then the list, as the kernel does.
func (d *Device) Ran(path string, digest [32]byte) error {
	var b ima.Builder
	if err := b.Append(ima.Measurement{Path: path, Algorithm: pcr.SHA256, Digest: digest[:]}); err != nil {
		return err
	}
	if err := d.Extend(b.Bytes()); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.Root, imaPath), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	return errors.Join(err, f.Close())
}

// Write puts a file into the machine's file system.
func (d *Device) Write(name string, content []byte) error {
	path := filepath.Join(d.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

func (d *Device) show(m Machine, list []byte) error {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	secureBoot := []byte{6, 0, 0, 0, 1} // attributes, value
	if m.SecureBootOff {
		secureBoot[4] = 0
	}
	files := map[string][]byte{
		bootLogPath:                      m.Shown,
		"sys/class/dmi/id/sys_vendor":    []byte(m.Vendor + "\n"),
		"sys/class/dmi/id/product_name":  []byte(m.Model + "\n"),
		"sys/class/dmi/id/bios_vendor":   []byte(m.Vendor + "\n"),
		"sys/class/dmi/id/bios_version":  []byte(m.Firmware + "\n"),
		"proc/sys/kernel/random/boot_id": fmt.Appendf(nil, "%x-%x-%x-%x-%x\n", id[:4], id[4:6], id[6:8], id[8:10], id[10:]),
		"proc/cmdline":                   []byte(m.CommandLine + "\n"),
		"etc/os-release":                 []byte("PRETTY_NAME=\"Acme RouterOS 2\"\n"),
		"sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": secureBoot,
	}
	if list != nil {
		files[imaPath] = list
	}
	if m.Flash != nil {
		files[FlashPath] = m.Flash
	}
	for name, content := range files {
		if err := d.Write(name, content); err != nil {
			return err
		}
	}
	return nil
}

// StateDir returns the folder for the agent's state.
func (d *Device) StateDir() string { return filepath.Join(d.dir, "agent") }

// Stop ends the TPM.
func (d *Device) Stop() error { return d.TPM.Stop() }
