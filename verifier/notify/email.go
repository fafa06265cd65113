package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/probity-attest/probity/verifier/store"
)

// email sends the alert as plain text, each recipient a message of its own: a mailbox that is full or gone is nobody else's
// loss. All messages of one alert are one thread (RFC 5322, section 3.6.4); attempts of one delivery have the same Message-ID.
func (n *Notifier) email(ctx context.Context, c *store.AlertChannel, t *target, d *store.Delivery, m *Message) error {
	msg, err := letter(c, d, m)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(t.port)
	if err != nil {
		return fmt.Errorf("port of the target: %w", err)
	}
	config := &tls.Config{ServerName: t.host, RootCAs: n.cfg.Roots, MinVersion: tls.VersionTLS12}
	options := []mail.Option{
		mail.WithPort(port), mail.WithTimeout(sendTimeout), mail.WithTLSConfig(config), mail.WithHELO(domain(c.From)), mail.WithoutNoop(),
	}
	dial := n.dialer().DialContext
	switch {
	case t.url.Scheme == "smtps":
		options = append(options, mail.WithSSL())
		dial = (&tls.Dialer{NetDialer: n.dialer(), Config: config}).DialContext
	case t.plain:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory)) // RFC 3207: nobody on the way can leave it out
	}
	finish := func() {}
	defer func() { finish() }()
	options = append(options, mail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(dialing, network, address)
		if err != nil {
			return nil, err
		}
		release := bind(ctx, conn) // the client sets the deadline anew before it sends
		finish = func() {
			release()
			_ = conn.Close() // the client leaves it open where it fails before it sends
		}
		return conn, nil
	}))
	if c.User != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthPlain), mail.WithUsername(c.User), mail.WithPassword(c.Secret))
	}
	client, err := mail.NewClient(t.host, options...)
	if err != nil {
		return err
	}
	err = client.DialAndSendWithContext(ctx, msg)
	if msg.IsDelivered() {
		return nil // how the server ends the session is no reason to send it again
	}
	return err
}

// mailbox reports whether a failure is of the recipient alone: the server takes what is for others.
func mailbox(failure error) bool {
	var refused *mail.SendError
	return errors.As(failure, &refused) && refused.Reason == mail.ErrSMTPRcptTo
}

// letter writes the message.
func letter(c *store.AlertChannel, d *store.Delivery, m *Message) (*mail.Msg, error) {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := msg.From(c.From); err != nil {
		return nil, err
	}
	to := c.To
	if d.Recipient != "" {
		to = []string{d.Recipient}
	}
	if err := msg.To(to...); err != nil {
		return nil, err
	}
	status := strings.TrimPrefix(m.Type, "alert.")
	if status != ended && status != trial {
		status = string(m.Data.Severity)
	}
	msg.Subject(fmt.Sprintf("[probity %s] %s", status, strings.ReplaceAll(m.Title, "=?", "= ?"))) // no encoded word (RFC 2047)
	msg.SetDateWithValue(m.At)
	thread := "alert-" + m.Data.ID + "@" + domain(c.From)
	msg.SetMessageIDWithValue("delivery-" + d.Key + "@" + domain(c.From))
	msg.SetGenHeader(mail.HeaderReferences, "<"+thread+">")
	msg.SetGenHeader(mail.HeaderInReplyTo, "<"+thread+">")
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834, section 5: nobody answers it by machine
	msg.SetBodyString(mail.TypeTextPlain, text(m))
	return msg, nil
}

// domain returns what follows the @ of an address.
func domain(address string) string {
	a, err := netmail.ParseAddress(address)
	if err != nil {
		return "localhost"
	}
	return a.Address[strings.LastIndexByte(a.Address, '@')+1:]
}

// text is the message for people.
func text(m *Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", m.Title)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", name+":", value)
		}
	}
	x := &m.Data
	if x.Resolved != nil {
		line("Resolved", x.Resolved.Format(time.RFC1123))
	}
	line("Since", x.Since.Format(time.RFC1123))
	line("Severity", string(x.Severity))
	line("Devices", fmt.Sprintf("%s now, at most %s", group(x.Devices), group(x.Peak)))
	line("Such as", names(m))
	line("Models", first(x.Models))
	line("Groups", first(x.Groups))
	line("Finding", x.Code)
	line("Component", x.Component)
	line("Expected", x.Expected)
	line("Observed", x.Observed)
	line("Known as", x.Nearest)
	line("Meaning", x.Meaning)
	line("What to do", x.Action)
	line("See", x.URL)
	fmt.Fprintf(&b, "\nRule %q of verifier %s, tenant %s, alert %s\n", x.Rule, x.Verifier, x.Tenant, x.ID)
	return b.String()
}
