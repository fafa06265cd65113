package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Of RFC 5424, section 6.2.1.
const (
	facility = 16 // local use 0
	sevCrit  = 2
	sevWarn  = 4
	sevNote  = 5
	sevInfo  = 6

	maxVersion = 32 // of origin's swVersion (section 7.2.3)
)

// syslog sends the alert as one RFC 5424 message whose text is CEF. Over TCP and TLS it is counted in octets (RFC 6587,
// section 3.4.1; RFC 5425, section 4.3), and a receiver that closes the connection with an error at once is noticed;
// nothing else is, for syslog has no receipts.
func (n *Notifier) syslog(ctx context.Context, t *target, d *store.Delivery, m *Message) error {
	network, limit := "tcp", maxSyslog
	if t.url.Scheme == "udp" {
		network, limit = "udp", maxDatagram
	}
	line := syslogMessage(m, d, n.cfg.Version, limit)
	conn, err := n.dialer().DialContext(ctx, network, t.address())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer bind(ctx, conn)()
	if network == "udp" {
		_, err := conn.Write(line)
		return err
	}
	if t.url.Scheme == "tls" {
		secure := tls.Client(conn, &tls.Config{ServerName: t.host, RootCAs: n.cfg.Roots, MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		conn = secure
	}
	if _, err := conn.Write(append([]byte(strconv.Itoa(len(line))+" "), line...)); err != nil {
		return err
	}
	return farewell(conn)
}

// farewell ends the sending side and gives the receiver a moment to refuse what it got.
func farewell(conn net.Conn) error {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := c.CloseWrite(); err != nil {
			return err
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(syslogFarewell))
	_, err := conn.Read(make([]byte, 1))
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // many receivers keep the connection open
	}
	return err
}

// syslogMessage returns an RFC 5424 message of at most limit bytes. Its structured data are IANA's origin (section 7.2).
// Its text is MSG-ANY (section 6.4), without a byte order mark: collectors know CEF by its first letters.
func syslogMessage(m *Message, d *store.Delivery, version string, limit int) []byte {
	severity := map[result.Severity]int{result.Critical: sevCrit, result.Warn: sevWarn}[m.Data.Severity]
	switch {
	case m.Data.Resolved != nil:
		severity = sevNote
	case severity == 0:
		severity = sevInfo
	}
	head := fmt.Sprintf(`<%d>1 %s %s probity-verifier - %s [origin software="probity-verifier" swVersion="%s"] `,
		facility*8+severity, m.At.UTC().Format("2006-01-02T15:04:05.000000Z"), header(m.Data.Verifier, 255),
		header(strings.ToUpper(m.Type), 32), parameter(clip(version, maxVersion)))
	text := cef(m, d, version)
	if len(head)+len(text) > limit {
		text = text[:limit-len(head)]
		for len(text) > 0 && !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
		text = strings.TrimRight(text, `\`) // no half escape
	}
	return append([]byte(head), text...)
}

// header returns s as a field of the header: PRINTUSASCII of at most limit bytes, or the NILVALUE (section 6).
func header(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < 33 || r > 126 {
			return -1
		}
		return r
	}, s)
	return cmp.Or(s[:min(len(s), limit)], "-")
}

// parameter escapes a PARAM-VALUE (section 6.3.3).
func parameter(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(clip(s, maxText))
}

// CEF: ArcSight Common Event Format, implementation standard version 25, chapter 1: in the header | and \ are escaped, in
// extensions = and \ and line ends.
var (
	cefHeader = strings.NewReplacer(`\`, `\\`, `|`, `\|`)
	cefValue  = strings.NewReplacer(`\`, `\\`, `=`, `\=`)
)

// cef returns the alert as CEF:0|Vendor|Product|Version|Event class|Name|Severity|Extension. What identifies it comes
// first, so that it stays when the end is cut off.
func cef(m *Message, d *store.Delivery, version string) string {
	severity := map[result.Severity]int{result.Info: 3, result.Warn: 6, result.Critical: 9}[m.Data.Severity]
	var b strings.Builder
	fmt.Fprintf(&b, "CEF:0|Probity|Verifier|%s|%s|%s|%d|", cefHeader.Replace(clip(cmp.Or(version, "-"), maxText)),
		cefHeader.Replace(m.Data.Code), cefHeader.Replace(m.Title), severity)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s=%s ", name, cefValue.Replace(value))
		}
	}
	label := func(name, meaning, value string) {
		if value != "" {
			field(name, value)
			field(name+"Label", meaning)
		}
	}
	field("externalId", d.Key)
	field("rt", strconv.FormatInt(m.At.UnixMilli(), 10))
	field("start", strconv.FormatInt(m.Data.Since.UnixMilli(), 10))
	if m.Data.Resolved != nil {
		field("end", strconv.FormatInt(m.Data.Resolved.UnixMilli(), 10))
	}
	field("act", strings.TrimPrefix(m.Type, "alert."))
	field("cnt", strconv.Itoa(max(m.Data.Devices, 0)))
	field("cat", string(m.Data.Submod))
	field("dvchost", m.Data.Verifier)
	label("cs1", "rule", m.Data.Rule)
	label("cs2", "component", m.Data.Component)
	label("cs3", "alert", m.Data.ID)
	label("cs4", "cluster", m.Data.Cluster)
	label("cs5", "models", first(m.Data.Models))
	label("cs6", "groups", first(m.Data.Groups))
	field("request", m.Data.URL)
	field("msg", m.Data.Meaning+"; "+m.Data.Action)
	label("flexString1", "observed", m.Data.Observed)
	label("flexString2", "devices", names(m))
	return strings.TrimSuffix(b.String(), " ")
}

// first lists values in words.
func first(list []store.AlertValue) string {
	var out []string
	for _, v := range list {
		if v.Value != "" {
			out = append(out, fmt.Sprintf("%s (%d)", v.Value, v.Devices))
		}
	}
	return strings.Join(slices.Clip(out), ", ")
}
