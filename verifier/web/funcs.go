package web

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// funcs are the functions of templates. Those that take a time take a time.Time or a *time.Time, nil for never.
func (s *server) funcs() template.FuncMap {
	return template.FuncMap{
		"asset":   s.assets.of,   // asset "app.css": address of a file
		"icon":    icon,          // icon "bell": a picture beside words, hidden from screen readers
		"badge":   badge,         // badge .State: a device's state with picture and words
		"state":   stateName,     // state .State: in words
		"sev":     severityBadge, // sev .Severity
		"ago":     s.ago,         // ago .At: <time>3 min ago</time>
		"when":    when,          // when .At: <time>2026-01-02 15:04:05 UTC</time>
		"span":    span,          // span 3600: 1 h, of seconds
		"num":     num,           // num 3104: 3,104
		"count":   count,         // count 3 "device" "devices": 3 devices
		"bytes":   byteSize,      // bytes 4096: 4.0 KiB
		"short":   short,         // short .ID: first 12 characters
		"digest":  digest,        // digest .Digest: shortened, whole in its title
		"pct":     percent,       // pct 1 3: 33.3, of a bar
		"path":    pathTo,        // path "devices" .ID: /devices/0123...
		"query":   queryOf,       // query "/devices" "state" "stale": /devices?state=stale
		"dict":    dict,          // dict "A" 1 "B" 2: arguments of a template
		"list":    func(items ...any) []any { return items },
		"data":    dataOf,  // data .X: JSON, for attributes data-*
		"bar":     bar,     // bar .States: shares of the states as a picture
		"meter":   meter,   // meter 3 10: a part as a picture
		"formkey": formKey, // hidden field: the form is done once, however often it is sent
		"add":     func(a, b int) int { return a + b },
		"lower":   strings.ToLower,
		"say":     sentence, // say .Meaning: with a capital and a full stop
		"join":    strings.Join,
	}
}

// states has every state, in the order in which they are shown.
var states = []result.State{
	result.Trusted, result.Warning, result.Untrusted, result.Stale, result.NeverAttested, result.Unsupported,
}

func stateName(s result.State) string {
	switch s {
	case result.Trusted:
		return "Trusted"
	case result.Warning:
		return "Warning"
	case result.Untrusted:
		return "Untrusted"
	case result.Stale:
		return "Stale"
	case result.NeverAttested:
		return "Never attested"
	case result.Unsupported:
		return "Unsupported"
	case "":
		return "New"
	}
	return string(s)
}

// stateClass returns a class for a state, never a foreign string.
func stateClass(s result.State) string {
	for _, known := range states {
		if s == known {
			return string(s)
		}
	}
	return "unsupported"
}

func badge(s result.State) template.HTML {
	class := stateClass(s)
	return template.HTML(`<span class="badge ` + class + `">` + string(icon(class)) +
		template.HTMLEscapeString(stateName(s)) + `</span>`)
}

func severityBadge(s result.Severity) template.HTML {
	class, name, picture := "info", "Info", "info"
	switch s {
	case result.Critical:
		class, name, picture = "critical", "Critical", "untrusted"
	case result.Warn:
		class, name, picture = "warn", "Warning", "warning"
	}
	return template.HTML(`<span class="badge ` + class + `">` + string(icon(picture)) + name + `</span>`)
}

// moment returns the time that v is, and whether it is one.
func moment(v any) (time.Time, bool, error) {
	switch t := v.(type) {
	case time.Time:
		return t, !t.IsZero(), nil
	case *time.Time:
		if t == nil || t.IsZero() {
			return time.Time{}, false, nil
		}
		return *t, true, nil
	case nil:
		return time.Time{}, false, nil
	}
	return time.Time{}, false, fmt.Errorf("want a time, got %T", v)
}

// stamp is how people read a time that must be exact.
const stamp = "2006-01-02 15:04:05 UTC"

func when(v any) (template.HTML, error) {
	t, ok, err := moment(v)
	if err != nil || !ok {
		return `<span class="muted">never</span>`, err
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format(stamp) + `</time>`), nil
}

func (s *server) ago(v any) (template.HTML, error) {
	t, ok, err := moment(v)
	if err != nil || !ok {
		return `<span class="muted">never</span>`, err
	}
	exact, shown := t.UTC().Format(time.RFC3339), t.UTC().Format(stamp)
	return template.HTML(`<time data-ago datetime="` + exact + `" title="` + shown + `">` + relative(s.Now().Sub(t)) + `</time>`), nil
}

// relative says how long ago something was, or how soon it will be.
func relative(d time.Duration) string {
	switch {
	case d < -time.Second:
		return "in " + span(int64(-d/time.Second))
	case d < 5*time.Second:
		return "just now"
	}
	return span(int64(d/time.Second)) + " ago"
}

// span says a number of seconds in one unit.
func span(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d < 2*time.Minute:
		return strconv.FormatInt(seconds, 10) + " s"
	case d < 2*time.Hour:
		return strconv.FormatInt(int64(d/time.Minute), 10) + " min"
	case d < 48*time.Hour:
		return strconv.FormatInt(int64(d/time.Hour), 10) + " h"
	}
	return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + " days"
}

// integer returns any integer as one.
func integer(v any) (int64, error) {
	switch n := v.(type) {
	case int:
		return int64(n), nil
	case int32:
		return int64(n), nil
	case int64:
		return n, nil
	case uint32:
		return int64(n), nil
	case uint64:
		return int64(min(n, math.MaxInt64)), nil
	}
	return 0, fmt.Errorf("want an integer, got %T", v)
}

func num(v any) (string, error) {
	n, err := integer(v)
	if err != nil {
		return "", err
	}
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s, nil
}

func count(v any, one, many string) (string, error) {
	s, err := num(v)
	if s == "1" {
		return "1 " + one, err
	}
	return s + " " + many, err
}

func byteSize(v any) (string, error) {
	n, err := integer(v)
	if err != nil {
		return "", err
	}
	units, f := []string{"KiB", "MiB", "GiB", "TiB"}, float64(n)
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B", nil
	}
	for i := 0; ; i++ {
		if f /= 1024; f < 1024 || i == len(units)-1 {
			return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[i], nil
		}
	}
}

// short returns the beginning of an id, as it is shown: enough to name a device of a fleet.
func short(id string) string { return id[:min(len(id), 12)] }

// digest shows the beginning of a digest, with the whole of it in its title and for who copies it.
func digest(s string) template.HTML {
	shown := s
	if name, hex, ok := strings.Cut(s, ":"); ok && len(hex) > 16 {
		shown = name + ":" + hex[:16] + "…"
	} else if len(s) > 20 {
		shown = s[:16] + "…"
	}
	return template.HTML(`<code class="digest" title="` + template.HTMLEscapeString(s) + `" data-copy="` +
		template.HTMLEscapeString(s) + `">` + template.HTMLEscapeString(shown) + `</code>`)
}

// percent returns 100*part/whole with one digit.
func percent(part, whole any) (string, error) {
	p, err := integer(part)
	w, err2 := integer(whole)
	if err := errors.Join(err, err2); err != nil {
		return "", err
	}
	if w == 0 {
		return "0", nil
	}
	return strconv.FormatFloat(100*float64(p)/float64(w), 'f', 1, 64), nil
}

// queryOf returns path with parameters, in pairs; those with empty values are left out.
func queryOf(path string, pairs ...any) (string, error) {
	if len(pairs)%2 != 0 {
		return "", errors.New("query: want pairs")
	}
	query := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if v := fmt.Sprint(pairs[i+1]); v != "" {
			query.Add(fmt.Sprint(pairs[i]), v)
		}
	}
	return withQuery(path, query), nil
}

func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: want pairs")
	}
	out := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		key, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: want a string as key, got %T", pairs[i])
		}
		out[key] = pairs[i+1]
	}
	return out, nil
}

func dataOf(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// sentence makes a sentence of the words that findings say.
func sentence(s string) string {
	s = upperFirst(strings.TrimSpace(s))
	if s == "" || strings.ContainsAny(s[len(s)-1:], ".!?") {
		return s
	}
	return s + "."
}

func formKey() template.HTML {
	return template.HTML(`<input type="hidden" name="_key" value="` + rand.Text() + `">`)
}
