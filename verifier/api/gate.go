package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/probity-attest/probity/proto"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// The gate lets others decide by what is known of a device: 200 if it may pass, 403 if not, with the reason in a header
// and in the body. Any other status means that nothing is known, so that whoever asks must not let the device pass.
//
// There are two doors. GET /v1/gate/{device} is for programs. /v1/ext-authz/{tier}/{max_age}/ is for proxies that ask
// for each request of a device, as Envoy's HTTP ext_authz filter does with it as path_prefix: whatever method and path
// follow are those of the device's own request and mean nothing here. The device is whom its client certificate names,
// which the proxy says in x-forwarded-client-cert (Envoy's documentation, "HTTP header manipulation"), or a header that
// the verifier's configuration names. The proxy must set that header itself, never pass on what a client sent: Envoy
// does so with forward_client_cert_details: SANITIZE_SET. It authenticates with a token for the API, by headers_to_add.

// gatePrefix is where proxies ask.
const gatePrefix = "/v1/ext-authz/"

// gateDevice is a question about one device. Only a full id names it: labels can be changed, and a gate must not move.
type gateDevice struct {
	Device string `path:"device" pattern:"^[0-9a-f]{64}$" doc:"full id"`
	Tier   string `query:"tier" enum:"affirming,warning" default:"affirming" doc:"worst tier that may pass"`
	MaxAge int64  `query:"max_age" minimum:"0" maximum:"31536000" doc:"most seconds since the evidence came; 0: as long as the state holds"`
}

type gateProxy struct {
	Tier   string `path:"tier" enum:"affirming,warning" doc:"worst tier that may pass"`
	MaxAge int64  `path:"max_age" minimum:"0" maximum:"31536000" doc:"most seconds since the evidence came; 0: as long as the state holds"`
}

// gateAnswer has what proxies hand on in headers.
type gateAnswer struct {
	Status  int
	Device  string `header:"X-Probity-Device"`
	State   string `header:"X-Probity-State"`
	Reason  string `header:"X-Probity-Reason"`
	Expires string `header:"X-Probity-Expires"`
	Body    v1.Gate
}

func (s *server) registerGate(doc huma.API) {
	denied := map[string]*huma.Response{"403": {Description: "it may not pass, or the credential may not ask"}}
	register(s, doc, huma.Operation{
		OperationID: "check-gate", Method: http.MethodGet, Path: "/v1/gate/{device}",
		Summary:     "Ask whether a device may pass",
		Description: "200: it may. 403: it may not, and reason says why. Anything else: nothing is known, do not let it pass.",
		Responses:   denied,
	}, s.checkGate)
	register(s, doc, huma.Operation{
		OperationID: "check-gate-proxy", Method: http.MethodGet, Path: gatePrefix + "{tier}/{max_age}",
		Summary: "Ask whether the device of a request may pass, as a proxy does",
		Description: "For Envoy's HTTP ext_authz filter with this as path_prefix: any method, and any path behind it. The " +
			"device is the CN of the certificate in x-forwarded-client-cert, or the header that the verifier's configuration names.",
		Responses: map[string]*huma.Response{"403": denied["403"]},
	}, s.checkProxyGate)
}

type gateKey struct{}

// gateRequest turns what a proxy asks into a plain request: method, body, query and the end of the path are of a
// request that is not for us. Others it leaves as they are.
func gateRequest(r *http.Request) *http.Request {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), gatePrefix)
	if !ok {
		return r
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) < 2 {
		return r // no such route
	}
	out := r.Clone(context.WithValue(r.Context(), gateKey{}, r.Header))
	out.Method, out.Body, out.ContentLength = http.MethodGet, http.NoBody, 0
	out.URL = &url.URL{Path: gatePrefix + parts[0] + "/" + parts[1]}
	// They are of the device's request too, and would change the answer.
	for _, name := range []string{"If-Match", "If-None-Match", "Idempotency-Key", "Content-Type", "Accept"} {
		out.Header.Del(name)
	}
	return out
}

func (s *server) checkGate(ctx context.Context, p principal, in *gateDevice) (*gateAnswer, error) {
	return s.gateOf(ctx, p, in.Device, in.Tier, time.Duration(in.MaxAge)*time.Second)
}

func (s *server) checkProxyGate(ctx context.Context, p principal, in *gateProxy) (*gateAnswer, error) {
	header, _ := ctx.Value(gateKey{}).(http.Header)
	device, err := s.proxied(header)
	if err != nil {
		return &gateAnswer{
			Status: http.StatusForbidden, Reason: "unknown-device", Body: v1.Gate{Reason: "unknown-device", Detail: err.Error()},
		}, nil
	}
	return s.gateOf(ctx, p, device, in.Tier, time.Duration(in.MaxAge)*time.Second)
}

// proxied returns the device that a proxy asks for.
func (s *server) proxied(header http.Header) (string, error) {
	name := cmp.Or(s.GateHeader, "X-Forwarded-Client-Cert")
	values := header.Values(name)
	if len(values) != 1 {
		return "", fmt.Errorf("want header %s once: the proxy must set it", name)
	}
	device := values[0]
	if s.GateHeader == "" {
		var err error
		if device, err = certificateName(values[0]); err != nil {
			return "", fmt.Errorf("header %s: %w", name, err)
		}
	}
	if !proto.ValidDevice(device) {
		return "", fmt.Errorf("header %s: want a full device id", name)
	}
	return device, nil
}

// gateOf answers for one device.
func (s *server) gateOf(ctx context.Context, p principal, id, tier string, maxAge time.Duration) (*gateAnswer, error) {
	d, err := s.Store.Device(ctx, p.tenant, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read device: %w", err)
	}
	now := s.Now()
	out := v1.Gate{Device: id}
	switch {
	case err != nil:
		out.Reason, out.Detail = "unknown-device", "no device has this id"
	case d.Status != store.Active:
		out.Reason, out.Detail = "not-enrolled", fmt.Sprintf("the device is %s, not enrolled", d.Status)
	default:
		out.State, out.At, out.Expires = d.Current(now), moment(d.LastSeen), moment(d.StaleAt)
		if maxAge > 0 && !d.LastSeen.IsZero() {
			if end := d.LastSeen.Add(maxAge); d.StaleAt.IsZero() || end.Before(d.StaleAt) {
				out.Expires = moment(end)
			}
		}
		out.Reason, out.Detail = refuseState(out.State, tier)
		if age := now.Sub(d.LastSeen); out.Reason == "" && maxAge > 0 && age > maxAge {
			out.Reason = "too-old"
			out.Detail = fmt.Sprintf("the newest evidence is %s old, at most %s are wanted", age.Round(time.Second), maxAge)
		}
	}
	out.Allowed = out.Reason == ""
	a := &gateAnswer{Status: http.StatusOK, Device: id, State: string(out.State), Reason: out.Reason, Body: out}
	if !out.Allowed {
		a.Status, a.Body.Expires = http.StatusForbidden, nil
		return a, nil
	}
	if out.Expires != nil {
		a.Expires = out.Expires.Format(time.RFC3339)
	}
	return a, nil
}

// refuseState says why a device in a state may not pass, "" if it may. A state that is not named here may not.
func refuseState(state result.State, tier string) (reason, detail string) {
	switch state {
	case result.Trusted:
		return "", ""
	case result.Warning:
		if tier == v1.TierWarning {
			return "", ""
		}
		return "warning", "the device has warnings, and only trusted ones may pass"
	case result.Stale:
		return "stale", "the device has not attested in time"
	case result.NeverAttested:
		return "never-attested", "the device has never attested"
	case result.Unsupported:
		return "unsupported", "there is nothing to compare the device's evidence with"
	}
	return "untrusted", "the device is not trusted"
}

// certificateName returns the CN of the client certificate in an x-forwarded-client-cert header: of its last element,
// which is the proxy's own. Subjects are as Envoy writes them, by RFC 2253 or with slashes. A subject with several
// names, or none, is refused.
func certificateName(header string) (string, error) {
	last, err := lastElement(header)
	if err != nil {
		return "", err
	}
	subject, err := fieldOf(last, "subject")
	if err != nil {
		return "", err
	}
	separators := ",+"
	if strings.HasPrefix(subject, "/") {
		separators = "/"
	}
	var names []string
	for part := range strings.FieldsFuncSeq(subject, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if key, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && strings.EqualFold(key, "CN") {
			names = append(names, value)
		}
	}
	if len(names) != 1 {
		return "", fmt.Errorf("want a Subject with one CN: set_current_client_cert_details must have subject: true")
	}
	return names[0], nil
}

// lastElement returns what follows the last comma that is not in quotes.
func lastElement(header string) (string, error) {
	parts, err := splitQuoted(header, ',')
	if err != nil {
		return "", err
	}
	return parts[len(parts)-1], nil
}

// fieldOf returns the value of one of an element's pairs, which must be there once.
func fieldOf(element, name string) (string, error) {
	pairs, err := splitQuoted(element, ';')
	if err != nil {
		return "", err
	}
	var found []string
	for _, pair := range pairs {
		if key, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && strings.EqualFold(key, name) {
			found = append(found, value)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("want one %s, have %d", name, len(found))
	}
	value := found[0]
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(value[1 : len(value)-1])
	}
	return value, nil
}

// splitQuoted splits at separators that are not in double quotes, in which a backslash escapes what follows.
func splitQuoted(s string, separator byte) ([]string, error) {
	var parts []string
	begin, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			parts = append(parts, s[begin:i])
			begin = i + 1
		}
	}
	if quoted {
		return nil, errors.New("quotes do not end")
	}
	return append(parts, s[begin:]), nil
}
