package webtest

import (
	"encoding/json"
	"net/http"
)

// Hostile is what somebody might put into a name, a path or a log: a script, the end of an attribute, a terminal's
// escape sequence, a character that turns the direction of text, and one that is not seen.
const Hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>` + "\x1b[31m\u202egnp.exe\u2066\u200b"

// chosen are members of documents that devices, vendors, or people choose.
var chosen = map[string]bool{
	"label": true, "group": true, "vendor": true, "model": true, "firmware": true, "agent": true, "ek_issuer": true,
	"component": true,
	"expected":  true, "observed": true, "nearest": true, "text": true, "path": true, "type": true, "reference": true,
	"source": true, "name": true,
	"why": true, "region": true, "reason": true, "place": true, "advisory": true, "note": true, "issuer": true,
	"detail": true, "title": true,
	"rule": true, "message": true, "owner": true, "left_value": true, "right_value": true, "what": true,
	"version": true, "failed": true,
	"error": true, "channel": true, "target": true, "failing": true, "subject": true, "author": true, "policy": true,
	"problem": true, "void": true,
	"meaning": true, "action": true, "actor": true, "remote": true,
}

// lists are members with lists of such texts.
var lists = map[string]bool{
	"references": true, "notices": true, "notes": true, "vendors": true, "models": true,
	"reasons": true, "groups": true,
}

// MakeHostile adds Hostile to every text of every answer that somebody else than the verifier chose, save for what its
// pages need as it is.
func (a *API) MakeHostile() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for route, h := range a.routes {
		a.routes[route] = func(r *http.Request, body []byte) (int, any) {
			status, document := h(r, body)
			if document == nil {
				return status, nil
			}
			if _, raw := document.([]byte); raw {
				return status, document
			}
			b, err := json.Marshal(document)
			if err != nil {
				return http.StatusInternalServerError, nil
			}
			var v any
			if err := json.Unmarshal(b, &v); err != nil {
				return http.StatusInternalServerError, nil
			}
			return status, taint("", v)
		}
	}
}

func taint(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = taint(k, e)
		}
		if labels, ok := v["labels"].(map[string]any); ok {
			labels["site"+Hostile] = "x" + Hostile
		}
	case []any:
		for i, e := range v {
			if s, ok := e.(string); ok && lists[key] {
				v[i] = s + Hostile
				continue
			}
			v[i] = taint("", e)
		}
	case string:
		if chosen[key] && v != "" {
			return v + Hostile
		}
	}
	return v
}
