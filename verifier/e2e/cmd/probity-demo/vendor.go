package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/agent/tpm/tpmtest"
	"github.com/probity-attest/probity/firmware/image"
	"github.com/probity-attest/probity/firmware/image/imagetest"
	"github.com/probity-attest/probity/verifier/e2e/virtual"
	"github.com/probity-attest/probity/verifier/result"
)

// The second part of the demo: a vendor publishes manifests of what it ships, and no device was ever golden.
const (
	vendorName  = "Acme"
	vendorModel = "E9"
	// vendorMachine is the captured machine as which the model's devices measure: OVMF, systemd-stub and Linux.
	vendorMachine = "q35-uki"
	spyName       = "NetSpyDxe"
)

var spyGUID = imagetest.GUID("5bd1e995-1f0e-4c55-9d0f-70726f626974")

// vendor is the vendor's workshop and what it has built there.
type vendor struct {
	*demo
	dir      string
	captured []byte // boot log of the machine
	ca       *tpmtest.CA
	// alpha, beta and spied are its devices.
	alpha, beta, spied *device
}

// vendorStory plays it: trusted by images alone, an implant found and named, an update with an overlap, a rollback refused.
func (d *demo) vendorStory(ctx context.Context, ca *tpmtest.CA, testdata string) error {
	captured, err := os.ReadFile(filepath.Join(testdata, "eventlogs", vendorMachine+".bin"))
	if err != nil {
		return fmt.Errorf("captured machine: %w: run the demo in the project's folder", err)
	}
	v := &vendor{demo: d, dir: filepath.Join(d.dir, "acme"), captured: captured, ca: ca}
	fmt.Fprintf(d.out, "\nA vendor publishes what it ships\n\n")
	for _, scene := range []func(context.Context) error{v.publish, v.implant, v.update, v.rollback} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

// publish builds release 1.0, makes its manifest of the images, and lets two new devices come.
func (v *vendor) publish(ctx context.Context) error {
	first, err := virtual.NewProduct(vendorName, "1.0")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(v.dir, 0o755); err != nil {
		return err
	}
	if err := v.tool(ctx, false, "key", "generate", "-O", "acme.pem"); err != nil {
		return err
	}
	if err := v.tool(ctx, false, "key", "public", "acme.pem", "-O", "acme.pub"); err != nil {
		return err
	}
	v.say("the vendor builds %s %s 1.0 and makes its manifest of the images alone: no device, no boot log", vendorName, vendorModel)
	signed, err := v.release(ctx, first, "1.0", "--svn", "1", "--min-svn", "1")
	if err != nil {
		return err
	}
	v.say("the operator lets Acme's key speak for Acme's E models, and the vendor submits the manifest")
	if err := v.tool(ctx, false, "vendor", "add", vendorName, "--key", "acme.pub", "--model", "E*"); err != nil {
		return err
	}
	if err := v.tool(ctx, false, "manifest", "submit", signed); err != nil {
		return err
	}
	spied, err := first.Implanted(spyGUID, spyName)
	if err != nil {
		return err
	}
	v.say("three devices of the model are switched on for the first time; in the flash chip of one, a driver was added")
	for _, x := range []struct {
		at      **device
		name    string
		product *virtual.Product
	}{{&v.alpha, "alpha", first}, {&v.beta, "beta", first}, {&v.spied, "spied", spied}} {
		if *x.at, err = v.manufacture(ctx, x.name, x.product); err != nil {
			return err
		}
	}
	return v.expect(ctx, "devices that were never golden are trusted, by the manifest alone", v.alpha, v.beta)
}

// implant looks at the device with the implant.
func (v *vendor) implant(ctx context.Context) error {
	v.spied.want, v.spied.code = result.Untrusted, "boot-event-changed"
	if err := v.expect(ctx, "the device with the implant is untrusted", v.spied); err != nil {
		return err
	}
	for _, f := range v.spied.got.Results[0].Findings {
		if f.Severity == result.Critical {
			fmt.Fprintf(v.out, "         %s\n", shorten(f).Line())
		}
	}
	v.say("its owner permits it, so the operator asks for the flash chip's bytes and compares them with the vendor's image")
	captured := filepath.Join(v.dir, "captured.bin")
	if err := v.tool(ctx, false, "device", "capture", v.spied.name, "--region", virtual.Region, "-O", captured); err != nil {
		return err
	}
	shipped := filepath.Join(v.dir, "1.0", virtual.FlashFile)
	var named struct{ Changes []image.Change }
	if err := v.cli(ctx, &named, "image", "diff", shipped, captured); err != nil {
		return err
	}
	if err := v.tool(ctx, true, "image", "diff", shipped, captured); err != nil {
		return err
	}
	if !slices.ContainsFunc(named.Changes, func(c image.Change) bool {
		return c.Op == image.OpAdded && c.Name == spyName && c.GUID == spyGUID
	}) {
		return fmt.Errorf("the comparison of the images does not name %s: %+v", spyName, named.Changes)
	}
	return nil
}

// update brings release 1.1: tried out, then submitted, then installed on one device of two.
func (v *vendor) update(ctx context.Context) error {
	second, err := virtual.NewProduct(vendorName, "1.1")
	if err != nil {
		return err
	}
	v.say("release 1.1 comes; 1.0 stays valid for 30 days. A dry run over all stored evidence says who would change, now and then")
	overlap := "acme/e9/1.0=" + time.Now().AddDate(0, 0, 30).Format(time.DateOnly)
	signed, err := v.release(ctx, second, "1.1", "--svn", "2", "--min-svn", "1", "--supersedes", overlap)
	if err != nil {
		return err
	}
	if err := v.tool(ctx, true, "manifest", "dry-run", signed); err != nil {
		return err
	}
	if err := v.tool(ctx, false, "manifest", "submit", signed); err != nil {
		return err
	}
	if err := v.boot(ctx, v.alpha, second); err != nil {
		return err
	}
	if err := v.runs(ctx, v.alpha, "1.1"); err != nil {
		return err
	}
	return v.expect(ctx, "alpha runs 1.1, beta still 1.0: both are trusted", v.alpha, v.beta)
}

// rollback closes the overlap and then sets a device back.
func (v *vendor) rollback(ctx context.Context) error {
	first, err := virtual.NewProduct(vendorName, "1.0")
	if err != nil {
		return err
	}
	second, err := virtual.NewProduct(vendorName, "1.1")
	if err != nil {
		return err
	}
	v.say("beta is updated too, and the vendor states that nothing below 1.1 is safe any more")
	if err := v.boot(ctx, v.beta, second); err != nil {
		return err
	}
	if err := v.runs(ctx, v.beta, "1.1"); err != nil {
		return err
	}
	signed, err := v.release(ctx, second, "1.1-only", "--svn", "2", "--min-svn", "2")
	if err != nil {
		return err
	}
	if err := v.tool(ctx, false, "manifest", "submit", signed); err != nil {
		return err
	}
	if err := v.expect(ctx, "both devices run 1.1 and are trusted", v.alpha, v.beta); err != nil {
		return err
	}
	v.say("somebody sets beta back to 1.0, validly signed and vulnerable")
	if err := v.boot(ctx, v.beta, first); err != nil {
		return err
	}
	v.beta.want, v.beta.code = result.Untrusted, "rollback"
	if err := v.expect(ctx, "the rollback is refused", v.beta); err != nil {
		return err
	}
	f, _ := v.beta.got.worst()
	fmt.Fprintf(v.out, "         %s\n         %s\n", shorten(f).Line(), f.Action)
	return nil
}

// release ships a product into a folder and makes its signed manifest, as the vendor's build would.
func (v *vendor) release(ctx context.Context, p *virtual.Product, name string, options ...string) (string, error) {
	dir := filepath.Join(v.dir, name)
	if err := p.Ship(dir); err != nil {
		return "", err
	}
	in := func(file string) string { return filepath.Join(name, file) }
	args := []string{
		"manifest", "create", "--id", "acme/e9/" + name, "--vendor", vendorName, "--model", vendorModel, "--version", p.Version,
		"--firmware", in(virtual.FlashFile), "--vars", in(virtual.FlashFile), "--uki", `\EFI\BOOT\BOOTX64.EFI=` + in(virtual.UKIFile),
		"--image", in(virtual.FlashFile), "--layout", in(virtual.LayoutFile), "--rootfs", in(virtual.RootFolder),
		"--valid-until", time.Now().AddDate(5, 0, 0).Format(time.DateOnly), "-O", name + ".corim",
	}
	if err := v.tool(ctx, name == "1.0", append(args, options...)...); err != nil {
		return "", err
	}
	return name + ".signed.corim", v.tool(ctx, false, "manifest", "sign", "--key", "acme.pem", name+".corim")
}

// manufacture makes a device that runs a product, and names it.
func (v *vendor) manufacture(ctx context.Context, name string, p *virtual.Product) (*device, error) {
	m, err := p.Machine(vendorName, vendorModel, v.captured)
	if err != nil {
		return nil, err
	}
	layout, owner := filepath.Join(v.dir, "device-layout.yaml"), filepath.Join(v.dir, "charter.yaml")
	if err := os.WriteFile(layout, p.Layout("file:/"+virtual.FlashPath), 0o600); err != nil {
		return nil, err
	}
	charter := "allow: [boot-log, ima, platform, flash, flash-content." + virtual.Region + "]\n"
	if err := os.WriteFile(owner, []byte(charter), 0o600); err != nil {
		return nil, err
	}
	dev := &device{
		role:    role{name: name, machine: m, want: result.Trusted},
		options: []string{"--flash-mode", "layout", "--flash-layout", layout, "--charter", owner},
	}
	v.devices = append(v.devices, dev)
	if err := v.startDevice(ctx, ctx, v.ca, dev); err != nil {
		return nil, fmt.Errorf("device %q: %w", name, err)
	}
	if err := v.expectState(ctx, fmt.Sprintf("%s has attested", name), dev, func(dev *device) bool { return dev.got.attested() }); err != nil {
		return nil, err
	}
	return dev, v.cli(ctx, nil, "device", "label", dev.id, name)
}

// boot switches a device off and on again with another product.
func (v *vendor) boot(ctx context.Context, dev *device, p *virtual.Product) error {
	m, err := p.Machine(vendorName, vendorModel, v.captured)
	if err != nil {
		return err
	}
	dev.agent.stop()
	if err := dev.virtual.Boot(m); err != nil {
		return err
	}
	return v.startAgent(ctx, dev)
}

// runs waits until a device has attested with a version.
func (v *vendor) runs(ctx context.Context, dev *device, version string) error {
	return v.expectState(ctx, fmt.Sprintf("%s has attested with %s", dev.name, version), dev, func(dev *device) bool {
		return dev.got.Firmware == version && dev.got.attested()
	})
}

// expect waits until devices are as their roles say.
func (v *vendor) expect(ctx context.Context, what string, devices ...*device) error {
	return v.await(ctx, what, func(dev *device) bool { return !slices.Contains(devices, dev) || dev.asExpected() })
}

func (v *vendor) expectState(ctx context.Context, what string, of *device, is func(*device) bool) error {
	return v.await(ctx, what, func(dev *device) bool { return dev != of || is(dev) })
}

// tool runs the command line in the vendor's folder and shows the command; show: also what it prints.
func (v *vendor) tool(ctx context.Context, show bool, args ...string) error {
	var line strings.Builder
	for _, a := range args {
		if strings.ContainsAny(a, `\ *`) {
			a = "'" + a + "'"
		}
		line.WriteString(" " + strings.TrimPrefix(strings.ReplaceAll(a, v.dir+"/", ""), v.dir))
	}
	fmt.Fprintf(v.out, "         $ probity%s\n", line.String())
	cmd := exec.CommandContext(ctx, v.programs.cli, append([]string{"--context", v.context}, args...)...)
	cmd.Dir = v.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Exit code 3 says that devices would lose their trust: what a dry run is for.
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != 3 {
		return fmt.Errorf("probity%s: %w: %s", line.String(), err, strings.TrimSpace(stderr.String()))
	}
	if !show {
		return nil
	}
	for l := range strings.Lines(stdout.String()) {
		if l = strings.TrimRight(l, "\n"); len([]rune(l)) > 150 {
			l = string([]rune(l)[:149]) + "…"
		}
		fmt.Fprintf(v.out, "           %s\n", l)
	}
	return nil
}
