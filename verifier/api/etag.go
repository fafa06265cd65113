package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/probity-attest/probity/verifier/store"
)

// Entity tags (RFC 9110, section 8.8.3). Every answer to a GET that is a JSON document of up to maxTagged bytes has
// one, so that a client that asks again with If-None-Match learns cheaply that nothing changed. What a client may
// change with a condition has a tag of two parts, VERSION.CONTENT: If-Match compares the version alone, which is of
// what clients may change. So evidence that comes meanwhile does not refuse a change of a label.
//
// Answers still say Cache-Control: no-store. A tag is for clients that keep what they read themselves.

// conditional are the routes that look at If-Match. On others it would be ignored, so it is refused there.
var conditional = map[string]bool{
	"PATCH /v1/devices/{id}": true,
	"PUT /v1/policy":         true,
}

// conditions is what a request demands of the document, and the version that its handler named.
type conditions struct {
	match   []string // tags of If-Match; nil: any
	version string
}

type conditionsKey struct{}

// checkVersion refuses a change whose client saw another version of the document than the one that the handler is about
// to change. It is called before each attempt to write.
func checkVersion(ctx context.Context, version string) error {
	c, _ := ctx.Value(conditionsKey{}).(*conditions)
	if c == nil || c.match == nil {
		return nil
	}
	for _, tag := range c.match {
		seen, _, ok := strings.Cut(strings.Trim(tag, `"`), ".")
		if tag == "*" || ok && !strings.HasPrefix(tag, "W/") && seen == version {
			return nil
		}
	}
	return problemf(http.StatusPreconditionFailed, "changed since it was read: read it again, then decide again")
}

// setVersion names the version of the document that the handler shows, or that it has after a change.
func setVersion(ctx context.Context, version string) {
	if c, _ := ctx.Value(conditionsKey{}).(*conditions); c != nil {
		c.version = version
	}
}

// versionOf returns a version made of what clients may change.
func versionOf(v ...any) string {
	b, _ := json.Marshal(v) // plain values: it cannot fail
	return tagOf(b)[:16]
}

// deviceVersion is of what people say of a device.
func deviceVersion(d *store.Device) string {
	labels := d.Labels
	if len(labels) == 0 {
		labels = nil
	}
	return versionOf(d.Label, d.Group, labels, d.Status)
}

func tagOf(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}

// tagged serves a request with the conditions that it makes, and gives the answer a tag.
func (s *server) tagged(w http.ResponseWriter, r *http.Request, route string, next http.Handler) {
	c := &conditions{}
	if header := r.Header.Values("If-Match"); len(header) > 0 && !safe(r.Method) {
		if !conditional[route] {
			writeProblem(w, r, problemf(http.StatusPreconditionFailed, "this route knows no versions: leave If-Match out"))
			return
		}
		c.match = tags(header)
	}
	if !safe(r.Method) && !conditional[route] {
		next.ServeHTTP(w, r)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), conditionsKey{}, c))
	out := &tagWriter{ResponseWriter: w, c: c}
	if safe(r.Method) {
		out.none = tags(r.Header.Values("If-None-Match"))
	}
	next.ServeHTTP(out, r)
	out.finish()
}

// tags splits lists of tags. Ours have no commas.
func tags(header []string) []string {
	var out []string
	for _, line := range header {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag != "" && len(out) < maxTags {
				out = append(out, tag)
			}
		}
	}
	if out == nil && len(header) > 0 {
		out = []string{""} // matches nothing
	}
	return out
}

// tagWriter holds an answer back until it is whole.
type tagWriter struct {
	http.ResponseWriter
	c      *conditions
	none   []string // tags of If-None-Match
	held   bytes.Buffer
	status int
	open   bool // the answer is passed on as it comes
}

// WriteHeader implements http.ResponseWriter.
func (t *tagWriter) WriteHeader(status int) {
	if t.status != 0 {
		return
	}
	t.status = status
	kind, _, _ := strings.Cut(t.Header().Get("Content-Type"), ";")
	if status != http.StatusOK || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		t.pass()
	}
}

// Write implements http.ResponseWriter.
func (t *tagWriter) Write(b []byte) (int, error) {
	t.WriteHeader(http.StatusOK)
	if !t.open && t.held.Len()+len(b) > maxTagged {
		t.pass()
	}
	if t.open {
		return t.ResponseWriter.Write(b)
	}
	return t.held.Write(b)
}

// FlushError passes on what is held back: whoever asks for that writes a long answer in pieces.
func (t *tagWriter) FlushError() error {
	t.WriteHeader(http.StatusOK)
	t.pass()
	return http.NewResponseController(t.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach deadlines.
func (t *tagWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tagWriter) pass() {
	if t.open {
		return
	}
	t.open = true
	t.ResponseWriter.WriteHeader(t.status)
	_, _ = t.held.WriteTo(t.ResponseWriter) // a client that is gone shows with the next write
}

// finish sends a whole answer with its tag.
func (t *tagWriter) finish() {
	if t.open || t.status == 0 {
		return
	}
	tag := tagOf(t.held.Bytes())
	if t.c.version != "" {
		tag = t.c.version + "." + tag
	}
	tag = `"` + tag + `"`
	t.Header().Set("ETag", tag)
	for _, seen := range t.none {
		if seen == "*" || strings.TrimPrefix(seen, "W/") == tag {
			t.Header().Del("Content-Type")
			t.Header().Del("Content-Length")
			t.open = true
			t.ResponseWriter.WriteHeader(http.StatusNotModified)
			return
		}
	}
	t.pass()
}
