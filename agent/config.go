package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/probity-attest/probity/agent/charter"
	"github.com/probity-attest/probity/agent/collect"
	"github.com/probity-attest/probity/agent/link"
	"github.com/probity-attest/probity/firmware/flash"
	"github.com/probity-attest/probity/proto/daemon"
)

// EnvPrefix begins the name of every environment variable of the agent.
const EnvPrefix = "PROBITY_AGENT_"

// Identities that a device can have.
const (
	IdentityTPM      = "tpm"
	IdentitySoftware = "software"
)

// Config is the agent's configuration; package daemon describes how it is written. Default returns its defaults.
type Config struct {
	Verifier      string        `koanf:"verifier" doc:"verifier to report to, as mqtts://HOST:PORT"`
	CAFingerprint string        `koanf:"ca-fingerprint" doc:"pins the verifier's CA: \"sha256:\" and the SHA-256 of its certificate, as the verifier prints it"`
	CAFile        string        `koanf:"ca-file" doc:"pins the verifier's CA by a PEM file, instead of a fingerprint"`
	Token         string        `koanf:"token" secret:"true" doc:"enrolment token; needed only until the device has a certificate"`
	TokenFile     string        `koanf:"token-file" doc:"file that holds the enrolment token, so that it shows in no process list"`
	Tenant        string        `koanf:"tenant" doc:"tenant; usually known from the token or the certificate"`
	TPM           string        `koanf:"tpm" doc:"TPM device, or unix socket of a software TPM"`
	Identity      string        `koanf:"identity" doc:"what the device's identity rests on: \"tpm\", or \"software\" for a key on disk where there is no TPM"`
	Root          string        `koanf:"root" doc:"directory under which sys, proc and dev of the host are found, such as /host in a container; the TPM is named by its own path"`
	StateDir      string        `koanf:"state-dir" doc:"directory for the certificate and, with identity software, the key; it may be read-only with a TPM"`
	Charter       string        `koanf:"charter" doc:"file in which the owner lists what may leave the device; none: everything but the raw content of flash memory"`
	MinInterval   time.Duration `koanf:"min-interval" doc:"shortest time between two reports, whatever the verifier asks for"`
	Flash         Flash         `koanf:"flash"`
	Tamper        []string      `koanf:"tamper" doc:"contacts of the enclosure, as NAME=CHIP:LINE:ACTIVE[:PULL], such as enclosure=gpiochip0:17:active-high: a GPIO line in /dev, open at that level; PULL is pull-up or pull-down"`
	Log           Log           `koanf:"log"`
}

// What flash the agent reads.
const (
	FlashAuto   = "auto"
	FlashLayout = "layout"
	FlashOff    = "off"
)

// Flash is which flash the agent reads, and how gently.
type Flash struct {
	Mode     string        `koanf:"mode" doc:"flash that is read: auto (all MTD devices and eMMC boot areas that the kernel shows), layout (what flash.layout lists) or off"`
	Layout   string        `koanf:"layout" doc:"file that lists regions of flash, with flash.mode layout"`
	Rate     daemon.Size   `koanf:"rate" doc:"most bytes of flash that are read in a second; 0: as fast as it goes"`
	Interval time.Duration `koanf:"interval" doc:"how old a digest of flash may get before it is read again; longer where the kernel tells that nothing was written"`
	Wait     time.Duration `koanf:"wait" doc:"how long the first report waits for flash to be read; what is not read by then follows in another report"`
}

// maxFlashWait is the longest time that a report can be made to wait for flash: the watchdog takes an agent for stuck
// that makes one report for 5 minutes (link.Timing).
const maxFlashWait = 4 * time.Minute

// minFlashRate is the lowest rate of reading, in bytes a second: less is a mistake, such as a forgotten unit.
const minFlashRate = 1 << 10

// Log is how the agent logs.
type Log struct {
	Format string `koanf:"format" doc:"text (for people) or json (for collectors)"`
	Level  string `koanf:"level" doc:"debug, info, warn or error"`
}

// Default returns the defaults.
func Default() Config {
	return Config{
		TPM: "/dev/tpmrm0", Identity: IdentityTPM, Root: "/", StateDir: "/var/lib/probity-agent",
		MinInterval: 10 * time.Second,
		Flash:       Flash{Mode: FlashAuto, Rate: 4 << 20, Interval: time.Hour, Wait: time.Minute},
		Log:         Log{Format: "text", Level: "info"},
	}
}

// Check finds what Load cannot: values that are wrong or do not go together. What only a conversation needs, CheckLink
// checks.
func (c *Config) Check() error {
	if c.Identity != IdentityTPM && c.Identity != IdentitySoftware {
		return fmt.Errorf("identity %q: want tpm or software", c.Identity)
	}
	if c.Token != "" && c.TokenFile != "" {
		return errors.New("both token and token-file are configured: give one of them")
	}
	if c.MinInterval <= 0 {
		return fmt.Errorf("min-interval %s: want more than 0", c.MinInterval)
	}
	if c.StateDir == "" {
		return errors.New("state-dir is empty: name a directory")
	}
	_, noLog := daemon.Logger(io.Discard, c.Log.Format, c.Log.Level)
	_, noCharter := charter.Load(c.Charter)
	_, noTamper := collect.ParseTamperLines(c.Tamper)
	return errors.Join(noLog, noCharter, noTamper, c.Flash.check())
}

func (c *Flash) check() error {
	switch {
	case c.Mode != FlashAuto && c.Mode != FlashLayout && c.Mode != FlashOff:
		return fmt.Errorf("flash.mode %q: want auto, layout or off", c.Mode)
	case (c.Mode == FlashLayout) != (c.Layout != ""):
		return fmt.Errorf("flash.mode is %q and flash.layout is %q: a layout needs the mode \"layout\", and the mode a file", c.Mode, c.Layout)
	case c.Rate > 0 && c.Rate < minFlashRate:
		return fmt.Errorf("flash.rate %s: want at least %s a second, or 0 for no limit", c.Rate, daemon.Size(minFlashRate))
	case c.Interval <= 0:
		return fmt.Errorf("flash.interval %s: want more than 0", c.Interval)
	case c.Wait < 0 || c.Wait > maxFlashWait:
		return fmt.Errorf("flash.wait %s: want 0s to %s", c.Wait, maxFlashWait)
	}
	_, err := c.layout()
	return err
}

// layout returns the regions to read, nil for those that the kernel shows.
func (c *Flash) layout() (*flash.Layout, error) {
	if c.Mode != FlashLayout {
		return nil, nil
	}
	return flash.LoadLayout(c.Layout)
}

// CheckLink checks what show does not need: where the verifier is, how its CA is pinned, the token. It reads the files
// that are named and contacts nobody.
func (c *Config) CheckLink() error {
	l, err := c.link()
	if err != nil {
		return err
	}
	return l.Check()
}

// link returns the part of the configuration that the conversation needs.
func (c *Config) link() (link.Config, error) {
	token, err := c.token()
	if err != nil {
		return link.Config{}, err
	}
	return link.Config{
		Server: c.Verifier, CAFingerprint: c.CAFingerprint, CAFile: c.CAFile, Tenant: c.Tenant, Token: token,
		Certificates: stateDir(c.StateDir), Timing: link.Timing{MinInterval: c.MinInterval},
	}, nil
}

// token returns the enrolment token, "" if there is none.
func (c *Config) token() (string, error) {
	if c.TokenFile == "" {
		return c.Token, nil
	}
	b, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
