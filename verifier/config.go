package verifier

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/probity-attest/probity/firmware/pcr"
	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/proto/daemon"
	"github.com/probity-attest/probity/verifier/appraise"
	"github.com/probity-attest/probity/verifier/result"
)

// EnvPrefix begins the names of environment variables that configure the verifier.
const EnvPrefix = "PROBITY_VERIFIER_"

// Config is the verifier's whole configuration. DefaultConfig returns one that runs on one machine.
type Config struct {
	StateDir string   `koanf:"state-dir" doc:"folder of the database, the keys and the operator's context; made on first start"`
	Name     string   `koanf:"name" doc:"name of this verifier in results (iss); default: this host's name"`
	Tenant   string   `koanf:"tenant" doc:"tenant made on first start"`
	Hosts    []string `koanf:"hosts" doc:"DNS names and IP addresses by which devices and operators reach this verifier; default: this host's name and addresses"`

	MQTT       MQTT       `koanf:"mqtt"`
	API        API        `koanf:"api"`
	Enrollment Enrollment `koanf:"enrollment"`
	Policy     Policy     `koanf:"policy"`
	Access     Access     `koanf:"access"`
	Alerts     Alerts     `koanf:"alerts"`
	Tracing    Tracing    `koanf:"tracing"`

	Log Log `koanf:"log"`
}

// Log is how the verifier logs.
type Log struct {
	Format string `koanf:"format" doc:"text (for people) or json (for collectors)"`
	Level  string `koanf:"level" doc:"debug, info, warn or error"`
}

// MQTT configures the embedded broker.
type MQTT struct {
	Listen string `koanf:"listen" doc:"address on which devices connect (MQTT over TLS 1.3)"`
}

// API configures the HTTP API.
type API struct {
	Listen     string `koanf:"listen" doc:"address of the HTTPS API"`
	GateHeader string `koanf:"gate-header" doc:"header in which a proxy names the device whose request it asks for; default: the certificate in x-forwarded-client-cert"`
}

// Enrollment configures who is let in.
type Enrollment struct {
	Roots               string        `koanf:"tpm-roots" doc:"folder of PEM files with the root and intermediate certificates of TPM makers; default: tpm-roots in the state directory"`
	FirstUse            bool          `koanf:"first-use" doc:"let devices in whose EK no maker certifies, at identity level first-use; otherwise an operator must approve them"`
	CertificateLifetime time.Duration `koanf:"certificate-lifetime" doc:"lifetime of device certificates; renewed only while the device is not untrusted"`
}

// Policy is the built-in policy: how evidence is appraised where no policy document was set, and what it does not say.
// See appraise.Policy and package policy.
type Policy struct {
	Interval    time.Duration `koanf:"interval" doc:"how often a device reports; default: a third of stale-after"`
	StaleAfter  time.Duration `koanf:"stale-after" doc:"silence after which a device is stale"`
	SecureBoot  string        `koanf:"secure-boot" doc:"ignored, reference (as the reference values have it) or required"`
	IMA         string        `koanf:"ima" doc:"ignored, reference or required"`
	BootLog     string        `koanf:"boot-log" doc:"required, or ignored: PCR values alone may make a device trusted"`
	Unlogged    []string      `koanf:"unlogged-pcrs" doc:"PCRs that may hold values which no boot log explains, such as 11 and 15 where systemd measures after boot"`
	UnknownFile string        `koanf:"unknown-file" doc:"severity of a file that no reference knows: info, warning or critical"`
	Violation   string        `koanf:"ima-violation" doc:"severity of an IMA violation: info, warning or critical"`
	Flash       string        `koanf:"flash" doc:"flash memory, as the device itself reads it: ignored, reference (as the reference values have it) or required (every region needs reference values)"`
	FlashMaxAge time.Duration `koanf:"flash-max-age" doc:"age of flash digests from which on a device that should read its flash memory is at best warning"`
	Banks       []string      `koanf:"banks" doc:"PCR banks to build trust on, best first: sha256 and sha384; and sha1, which is broken, only if you accept that of TPMs that have no other"`
	MinLevel    string        `koanf:"min-identity" doc:"weakest identity level that may be trusted: first-use, pinned or certified"`
}

// DefaultConfig returns the configuration without any file, environment or flags.
func DefaultConfig() Config {
	p := appraise.DefaultPolicy()
	return Config{
		StateDir: "/var/lib/probity-verifier",
		Tenant:   "default",
		MQTT:     MQTT{Listen: ":8883"},
		API:      API{Listen: "127.0.0.1:8443"},
		Enrollment: Enrollment{
			FirstUse: true, CertificateLifetime: 24 * time.Hour,
		},
		Policy: Policy{
			StaleAfter: p.StaleAfter, SecureBoot: string(p.SecureBoot), IMA: string(p.IMA), BootLog: string(p.BootLog),
			UnknownFile: string(p.UnknownFile), Violation: string(p.Violation), MinLevel: string(p.MinLevel),
			Flash: string(p.Flash), FlashMaxAge: p.FlashMaxAge, Banks: bankNames(p.Banks),
		},
		Access:  Access{SessionLifetime: 12 * time.Hour, SessionIdle: 2 * time.Hour},
		Tracing: Tracing{Sample: 0.1},
		Log:     Log{Format: "text", Level: "info"},
	}
}

// Check reports everything that is wrong with the configuration. It reads nothing and opens nothing.
func (c *Config) Check() error {
	errs := []error{}
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.StateDir == "" {
		fail("state-dir: empty: name a folder that this user may write to")
	}
	if !proto.ValidTenant(c.Tenant) {
		fail("tenant: %q: want 1 to 32 of a-z, 0-9 and -", c.Tenant)
	}
	for _, host := range c.Hosts {
		if !validHost(host) {
			fail("hosts: %q: want DNS names and IP addresses, without scheme and port", host)
		}
	}
	for _, at := range []struct{ key, address string }{{"mqtt.listen", c.MQTT.Listen}, {"api.listen", c.API.Listen}} {
		if !validListen(at.address) {
			fail("%s: %q: want HOST:PORT or :PORT with a port from 0 (any free one) to 65535", at.key, at.address)
		}
	}
	if !validHeader(c.API.GateHeader) {
		fail("api.gate-header: %q: want the name of a header, such as x-device-id", c.API.GateHeader)
	}
	if c.Enrollment.CertificateLifetime < time.Minute {
		fail("enrollment.certificate-lifetime: %s: want at least 1m", c.Enrollment.CertificateLifetime)
	}
	p, err := c.Policy.compile()
	if err != nil {
		errs = append(errs, err)
	}
	// A receipt tells the time of the next report in whole seconds (proto.Receipt).
	if interval := c.Policy.Interval; interval != 0 && (interval < time.Second || interval >= p.StaleAfter) {
		fail("policy.interval: %s: want at least 1s and less than policy.stale-after (%s), or 0 for a third of that",
			interval, p.StaleAfter)
	}
	if _, err := daemon.Logger(io.Discard, c.Log.Format, "info"); err != nil {
		fail("log.format: %w", err)
	}
	if _, err := daemon.Logger(io.Discard, "text", c.Log.Level); err != nil {
		fail("log.level: %w", err)
	}
	if err := errors.Join(c.Access.check(), c.Alerts.check(), c.Tracing.check()); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// validListen reports whether net.Listen can make sense of an address.
func validListen(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// validHeader reports whether a name, if there is one, can be that of a header for a device: letters, digits and hyphens,
// and none that has a meaning of its own.
func validHeader(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "cookie", "host", "connection":
		return false
	}
	odd := func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	return len(name) <= 64 && !strings.ContainsFunc(name, odd)
}

// validHost reports whether a name can stand in the server's certificate: an IP address, or a DNS name (RFC 1123,
// section 2.1), for which underscores are tolerated as container networks have them.
func validHost(host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	if len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, r := range label {
			if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_') {
				return false
			}
		}
	}
	return true
}

// compile returns the appraisal policy.
func (p *Policy) compile() (appraise.Policy, error) {
	out := appraise.DefaultPolicy()
	var errs []error
	choose := func(key, value string, allowed ...string) string {
		for _, a := range allowed {
			if value == a {
				return value
			}
		}
		errs = append(errs, fmt.Errorf("policy.%s: %q: want one of %q", key, value, allowed))
		return value
	}
	out.StaleAfter = p.StaleAfter
	if p.StaleAfter < time.Second {
		errs = append(errs, fmt.Errorf("policy.stale-after: %s: want at least 1s", p.StaleAfter))
	}
	out.SecureBoot = appraise.Requirement(choose("secure-boot", p.SecureBoot, "ignored", "reference", "required"))
	out.IMA = appraise.Requirement(choose("ima", p.IMA, "ignored", "reference", "required"))
	out.BootLog = appraise.Requirement(choose("boot-log", p.BootLog, "ignored", "required"))
	out.UnknownFile = result.Severity(choose("unknown-file", p.UnknownFile, "info", "warning", "critical"))
	out.Violation = result.Severity(choose("ima-violation", p.Violation, "info", "warning", "critical"))
	out.Flash = appraise.Requirement(choose("flash", p.Flash, "ignored", "reference", "required"))
	if out.FlashMaxAge = p.FlashMaxAge; p.FlashMaxAge < time.Minute {
		errs = append(errs, fmt.Errorf("policy.flash-max-age: %s: want at least 1m", p.FlashMaxAge))
	}
	var err error
	if out.Banks, err = banks(p.Banks); err != nil {
		errs = append(errs, err)
	}
	out.MinLevel = result.Level(choose("min-identity", p.MinLevel, "first-use", "pinned", "certified"))
	for _, s := range p.Unlogged {
		i, err := strconv.Atoi(s)
		if err != nil || !out.PCRs.Has(i) {
			errs = append(errs, fmt.Errorf("policy.unlogged-pcrs: %q: want numbers of PCRs, of %s", s, out.PCRs))
			continue
		}
		out.Unlogged |= pcr.Select(i)
	}
	return out, errors.Join(errs...)
}

// banks returns the banks of these names, each of which may be there once.
func banks(names []string) ([]pcr.Algorithm, error) {
	var out []pcr.Algorithm
	for _, name := range names {
		a, err := pcr.ParseAlgorithm(name)
		if err != nil || !a.Trusted() && a != pcr.SHA1 || slices.Contains(out, a) {
			return nil, fmt.Errorf("policy.banks: %q: want sha256, sha384 and sha1, each at most once", name)
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		return nil, errors.New("policy.banks: empty: want at least one of sha256, sha384 and sha1")
	}
	return out, nil
}

func bankNames(list []pcr.Algorithm) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}

func (c *Config) roots() string {
	if c.Enrollment.Roots != "" {
		return c.Enrollment.Roots
	}
	return filepath.Join(c.StateDir, "tpm-roots")
}

func (c *Config) name() string {
	if c.Name != "" {
		return c.Name
	}
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "probity-verifier"
}

// hosts returns the names for the server's certificate, each once. The first is shown to people who enrol devices: it
// must not be where only the API listens, by default this machine's loopback.
func (c *Config) hosts() []string {
	var out []string
	add := func(host string) {
		if validHost(host) && !net.ParseIP(host).IsUnspecified() && !slices.Contains(out, host) {
			out = append(out, host)
		}
	}
	mqtt, _, _ := net.SplitHostPort(c.MQTT.Listen)
	api, _, _ := net.SplitHostPort(c.API.Listen)
	if len(c.Hosts) > 0 {
		for _, host := range slices.Concat(c.Hosts, []string{mqtt, api, "localhost", "127.0.0.1", "::1"}) {
			add(host) // the operator on this machine uses none of the names for others
		}
		return out
	}
	add(mqtt)
	if host, err := os.Hostname(); err == nil {
		add(host)
	}
	add(api)
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
				add(n.IP.String())
			}
		}
	}
	add("localhost")
	return out
}
