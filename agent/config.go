package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/probity-attest/probity/agent/charter"
	"github.com/probity-attest/probity/agent/link"
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
	Root          string        `koanf:"root" doc:"directory under which sys and proc of the host are found, such as /host in a container"`
	StateDir      string        `koanf:"state-dir" doc:"directory for the certificate and, with identity software, the key; it may be read-only with a TPM"`
	Charter       string        `koanf:"charter" doc:"file in which the owner lists what may leave the device; none: everything"`
	MinInterval   time.Duration `koanf:"min-interval" doc:"shortest time between two reports, whatever the verifier asks for"`
	Log           Log           `koanf:"log"`
}

// Log is how the agent logs.
type Log struct {
	Format string `koanf:"format" doc:"text (for people) or json (for collectors)"`
	Level  string `koanf:"level" doc:"debug, info, warn or error"`
}

// Default returns the defaults.
func Default() Config {
	return Config{
		TPM: "/dev/tpmrm0", Identity: IdentityTPM, Root: "/", StateDir: "/var/lib/probity-agent",
		MinInterval: 10 * time.Second, Log: Log{Format: "text", Level: "info"},
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
	return errors.Join(noLog, noCharter)
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
