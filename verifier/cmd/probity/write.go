package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// errDry ends a command before it changes something.
var errDry = errors.New("dry run")

// changing marks commands that change something at a verifier.
const changing = "changing"

// hidden stands for secrets in what a dry run shows.
const hidden = "(hidden)"

// writes makes a command that changes something at the verifier one that can be tried out: with --dry-run it looks up and
// checks what it always does and shows what it would send.
func (a *app) writes(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.dryRun, "dry-run", false, "show what would be sent to change something, and change nothing")
	mark(cmd, changing)
	return cmd
}

// mark gives a command an annotation.
func mark(cmd *cobra.Command, name string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[name] = ""
}

// harmless are requests that change nothing although their method says so: they work out what would happen.
var harmless = map[string]bool{
	"POST /v1/dry-runs": true, "POST /v1/policy/test": true, "POST /v1/outliers": true,
}

// changesSomething reports whether a request changes something at the verifier. A bulk action that only counts does not.
func changesSomething(method, path string, in any) bool {
	if method == http.MethodGet || method == http.MethodHead || harmless[method+" "+path] {
		return false
	}
	b, ok := in.(v1.BulkAction)
	return !ok || !b.DryRun
}

// wouldSend is a request that a dry run did not send.
type wouldSend struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   any    `json:"body,omitempty"`
}

// showRequest shows a request instead of sending it.
func (a *app) showRequest(method, path string, query url.Values, in any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	r := wouldSend{Method: method, Path: path}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		if err := json.Unmarshal(b, &r.Body); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		hideSecrets(r.Body)
	}
	a.say("dry run: nothing was changed; this would be sent:")
	if err := a.print(r, func(w io.Writer) error {
		fmt.Fprintf(w, "%s %s\n", r.Method, safe(r.Path))
		if r.Body == nil {
			return nil
		}
		return writeJSON(w, r.Body)
	}); err != nil {
		return err
	}
	return errDry
}

// hideSecrets replaces secrets anywhere in a document.
func hideSecrets(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if _, isText := value.(string); isText && isSecret(name) {
				v[name] = hidden
				continue
			}
			hideSecrets(value)
		}
	case []any:
		for _, one := range v {
			hideSecrets(one)
		}
	}
}

// isSecret reports whether a member of a request's document is a secret.
func isSecret(name string) bool {
	switch strings.ToLower(name) {
	case "password", "secret", "token", "code", "old", "new":
		return true
	}
	return false
}
