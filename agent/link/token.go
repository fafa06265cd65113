package link

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/probity-attest/probity/proto"
)

// TokenTenant returns the tenant that an enrolment token, "pbt1.<tenant>.<id>.<secret>", is for. The error never
// repeats the token.
func TokenTenant(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 4 || parts[0] != "pbt1" || parts[2] == "" || parts[3] == "" || !proto.ValidTenant(parts[1]) ||
		len(token) > proto.MaxText {
		return "", errors.New("token: want the form pbt1.<tenant>.<id>.<secret>, as the verifier printed it")
	}
	return parts[1], nil
}

// server is where the verifier's broker listens.
type server struct{ host, port string }

func (s server) address() string { return net.JoinHostPort(s.host, s.port) }

// String returns the address as it is configured.
func (s server) String() string { return "mqtts://" + s.address() }

func parseServer(raw string) (server, error) {
	fail := func(why string) (server, error) {
		return server{}, fmt.Errorf("verifier %s: %s: want mqtts://HOST:PORT, such as mqtts://verifier.example:8883",
			quoteShort(raw), why)
	}
	if raw == "" {
		return fail("not configured")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return fail("not an address")
	case u.Scheme != "mqtts":
		return fail("only MQTT over TLS is spoken")
	case u.Hostname() == "":
		return fail("no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/"):
		return fail("more than host and port")
	}
	s := server{host: u.Hostname(), port: u.Port()}
	if s.port == "" {
		s.port = "8883" // IANA: secure-mqtt
	}
	return s, nil
}

func quoteShort(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return `"` + s + `"`
}
