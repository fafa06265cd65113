package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/probity-attest/probity/verifier/store"
)

// Kinds of channels.
const (
	KindAlertmanager = "alertmanager"
	KindWebhook      = "webhook"
	KindSyslog       = "syslog"
	KindEmail        = "email"
)

// ErrChannel is wrapped by the errors of Check: a channel that cannot work, or may not be.
var ErrChannel = errors.New("alert channel")

// schemes are the URL schemes of each kind, with the port that each has without saying so: RFC 9110, section 4.2; RFC 5426,
// section 3.3; RFC 6587, section 3.2; RFC 5425, section 4.1; RFC 6409, section 3.1; RFC 8314, section 3.3.
var schemes = map[string]map[string]string{
	KindAlertmanager: {"http": "80", "https": "443"},
	KindWebhook:      {"http": "80", "https": "443"},
	KindSyslog:       {"udp": "514", "tcp": "601", "tls": "6514"},
	KindEmail:        {"smtp": "587", "smtps": "465"},
}

// target is where a channel leads.
type target struct {
	url   *url.URL
	host  string // DNS name or address, without port
	port  string
	plain bool // of e-mail: without TLS, because the target asks for it with ?tls=none
}

func (t *target) address() string { return net.JoinHostPort(t.host, t.port) }

// parseTarget reads the target of a channel. Errors never repeat it: people paste credentials into URLs.
func parseTarget(kind, text string) (*target, error) {
	known, ok := schemes[kind]
	if !ok {
		return nil, fmt.Errorf("%w: kind: want alertmanager, webhook, syslog or email", ErrChannel)
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Host == "" || known[u.Scheme] == "" {
		return nil, fmt.Errorf("%w: target of kind %s: want a URL such as %s", ErrChannel, kind, examples[kind])
	}
	if u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%w: target: want no credentials and no # in the URL; credentials have members of their own", ErrChannel)
	}
	t := &target{url: u, host: u.Hostname(), port: u.Port()}
	if t.port == "" {
		t.port = known[u.Scheme]
	}
	if kind == KindSyslog || kind == KindEmail {
		t.plain = kind == KindEmail && u.Scheme == "smtp" && u.RawQuery == "tls=none"
		if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" && !t.plain {
			return nil, fmt.Errorf("%w: target of kind %s: want only scheme, host and port, such as %s", ErrChannel, kind, examples[kind])
		}
	}
	return t, nil
}

var examples = map[string]string{
	KindAlertmanager: "https://alertmanager.example.net:9093",
	KindWebhook:      "https://example.net/probity",
	KindSyslog:       "tls://collector.example.net:6514",
	KindEmail:        "smtp://mail.example.net:587",
}

// Check reports what keeps a channel from working, as far as that can be said without asking its target: its form, that
// it would not send secrets in the clear, and that a target named by its address may be reached at all. The errors wrap
// ErrChannel and are meant for people.
func (n *Notifier) Check(c *store.AlertChannel) error {
	t, err := parseTarget(c.Kind, c.Target)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(t.host); err == nil {
		if err := n.permitted(ip); err != nil {
			return fmt.Errorf("%w: target: %w", ErrChannel, err)
		}
	} else if h := "." + strings.TrimSuffix(strings.ToLower(t.host), "."); !n.cfg.Local && strings.HasSuffix(h, ".localhost") {
		return fmt.Errorf("%w: target: %w", ErrChannel, errLocal)
	}
	if c.Kind != KindEmail && (len(c.To) > 0 || c.From != "") {
		return fmt.Errorf("%w: to and from are for e-mail only", ErrChannel)
	}
	switch c.Kind {
	case KindAlertmanager:
		if c.Secret != "" && t.url.Scheme != "https" {
			return fmt.Errorf("%w: secret: http:// would show it to everybody on the way: use https://", ErrChannel)
		}
		if c.User != "" && c.Secret == "" {
			return fmt.Errorf("%w: user: want a secret with it", ErrChannel)
		}
	case KindWebhook:
		if _, err := webhookKey(c.Secret); err != nil {
			return err
		}
		if c.User != "" {
			return fmt.Errorf("%w: user: a webhook has none", ErrChannel)
		}
	case KindSyslog:
		if c.User != "" || c.Secret != "" {
			return fmt.Errorf("%w: user and secret: syslog has none", ErrChannel)
		}
	case KindEmail:
		return checkEmail(c, t)
	}
	return nil
}

func checkEmail(c *store.AlertChannel, t *target) error {
	if len(c.To) == 0 || len(c.To) > maxRecipients {
		return fmt.Errorf("%w: to: want 1 to %d recipients", ErrChannel, maxRecipients)
	}
	for _, a := range append([]string{c.From}, c.To...) {
		if _, err := mail.ParseAddress(a); err != nil {
			return fmt.Errorf("%w: %q is no e-mail address; want from and to as in alerts@example.net", ErrChannel, clip(a, maxError))
		}
	}
	if (c.User == "") != (c.Secret == "") {
		return fmt.Errorf("%w: user and secret: want both or neither", ErrChannel)
	}
	if t.plain && c.Secret != "" {
		return fmt.Errorf("%w: secret: tls=none would show it to everybody on the way", ErrChannel)
	}
	return nil
}

var errLocal = errors.New("it leads to this machine or its link, where only the verifier's operator may send: " +
	"see alerts.allow-local in its configuration")

// metadata are addresses at which clouds hand out credentials, beyond those on the link.
var metadata = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200")}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052, section 2.1
	sixto4 = netip.MustParsePrefix("2002::/16")    // RFC 3056, section 2
	mapped = netip.MustParsePrefix("::/96")        // RFC 4291, section 2.5.5.1: IPv4 in the last four bytes
	nets0  = netip.MustParsePrefix("0.0.0.0/8")    // RFC 1122, section 3.2.1.3: this network
	nets4  = netip.MustParsePrefix("240.0.0.0/4")  // RFC 1112, section 4: reserved
	teredo = netip.MustParsePrefix("2001::/32")    // RFC 4380, section 2.6: wraps IPv4 addresses in ways that are not looked into
)

// permitted reports what keeps the notifier from sending to an address: this machine, its link, many machines at once.
func (n *Notifier) permitted(ip netip.Addr) error {
	ip = ip.WithZone("").Unmap()
	if ip.IsMulticast() || ip.IsUnspecified() || nets0.Contains(ip) || nets4.Contains(ip) || teredo.Contains(ip) {
		return fmt.Errorf("%s is no address of one machine", ip)
	}
	if n.cfg.Local {
		return nil
	}
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || slices.Contains(metadata, ip) {
		return errLocal
	}
	raw := ip.As16()
	switch {
	case nat64.Contains(ip) || ip.Is6() && mapped.Contains(ip):
		return n.permitted(netip.AddrFrom4([4]byte(raw[12:16])))
	case sixto4.Contains(ip):
		return n.permitted(netip.AddrFrom4([4]byte(raw[2:6])))
	}
	return nil
}

// dialer reaches targets. The address is checked when it is connected to, after names were looked up: a name cannot lead
// elsewhere than it did when it was checked.
func (n *Notifier) dialer() *net.Dialer {
	return &net.Dialer{
		Timeout: sendTimeout / 2, KeepAlive: -1, Resolver: n.cfg.Resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("address: %w", err)
			}
			return n.permitted(at.Addr())
		},
	}
}

// bind makes a connection end with ctx, whatever deadlines are set on it, until release is called.
func bind(ctx context.Context, conn net.Conn) (release func()) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	return func() { stop() }
}
