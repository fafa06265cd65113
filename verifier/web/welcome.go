package web

import (
	"net/http"
	"sync"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (s *server) welcomePages() {
	s.get("GET /welcome", "", (*page).welcome)
	s.post("POST /welcome", (*page).newLine)
}

// lines keeps the secrets of tokens made on the first-run page, so that the line is still there when the page is loaded
// again. They are in memory only: after a restart the page makes another token.
type lines struct {
	mu   sync.Mutex
	now  func() time.Time
	line map[string]enrolmentLine
}

// enrolmentLine is a token that lets devices in.
type enrolmentLine struct {
	Secret  string
	Uses    int
	Expires time.Time
}

func newLines(now func() time.Time) *lines { return &lines{now: now, line: map[string]enrolmentLine{}} }

func (l *lines) get(who v1.Me) (enrolmentLine, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.line[who.Tenant+"/"+who.Name]
	return e, ok && l.now().Before(e.Expires)
}

func (l *lines) put(who v1.Me, e enrolmentLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, old := range l.line {
		if !l.now().Before(old.Expires) || len(l.line) >= maxLines {
			delete(l.line, key)
		}
	}
	l.line[who.Tenant+"/"+who.Name] = e
}

// firstRun is what the first-run page shows.
type firstRun struct {
	Enrolment
	Line    string // empty: there is no token yet
	Uses    int
	Expires time.Time
}

// Line returns the command that enrols a device with a token's secret.
func (e Enrolment) Line(secret string) string {
	return "probity-agent run --verifier " + e.Verifier + " --ca-fingerprint " + e.Fingerprint + " --token " + secret
}

// enrolled reports whether the fleet has a device, attested or not.
func (p *page) enrolled() (bool, error) {
	var one v1.Devices
	err := p.api(http.MethodGet, "/v1/devices?limit=1", nil, &one)
	return len(one.Devices) > 0, err
}

// welcome tells how to enrol the first device. When it is there, the page becomes the fleet page.
func (p *page) welcome() error {
	there, err := p.enrolled()
	if err != nil {
		return err
	}
	if there {
		if p.fragment() {
			p.w.Header().Set("HX-Redirect", "/")
			p.w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return p.redirect("/")
	}
	out := firstRun{Enrolment: p.Enrolment()}
	if line, ok := p.lines.get(p.me); ok {
		out.Line, out.Uses, out.Expires = out.Enrolment.Line(line.Secret), line.Uses, line.Expires
	} else if e := out.Enrolment; e.Token != "" && p.Now().Before(e.Expires) && p.can("create-token") {
		out.Line, out.Uses, out.Expires = e.Line(e.Token), e.Uses, e.Expires
	}
	return p.show("welcome", "Enrol the first device", out)
}

// newLine makes a token for the first devices.
func (p *page) newLine() error {
	var made v1.CreatedToken
	in := v1.NewToken{Uses: enrolmentUses, TTL: int64(enrolmentLifetime / time.Second)}
	if err := p.api(http.MethodPost, "/v1/tokens", in, &made); err != nil {
		return err
	}
	p.lines.put(p.me, enrolmentLine{Secret: made.Secret, Uses: made.Uses, Expires: made.Expires})
	return p.redirect("/welcome")
}
