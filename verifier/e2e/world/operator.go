package world

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/probity-attest/probity/verifier"
)

// Operator asks a verifier's API with the token that its first start left behind.
type Operator struct {
	URL    string
	Bearer string // token
	HTTP   *http.Client
}

// Operate returns the operator of the verifier that runs with a configuration and listens on what it says.
func Operate(c *verifier.Config) (*Operator, error) {
	b, err := os.ReadFile(filepath.Join(c.StateDir, "operator.yaml"))
	if err != nil {
		return nil, err
	}
	var saved struct{ Token string }
	if err := yaml.Unmarshal(b, &saved); err != nil {
		return nil, err
	}
	trust, err := TLS(c)
	if err != nil {
		return nil, err
	}
	return &Operator{
		URL: "https://" + c.API.Listen, Bearer: saved.Token,
		HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: trust}, Timeout: Patience},
	}, nil
}

// TLS returns a configuration that trusts a verifier's CA and nobody else.
func TLS(c *verifier.Config) (*tls.Config, error) {
	pem, err := os.ReadFile(filepath.Join(c.StateDir, "keys", "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool}, nil
}

// Ask asks the API. A body of bytes is a signed document, any other is sent as JSON, nil is none; the answer's JSON goes
// to into, unless that is nil. A status of 400 or more is the error.
func (o *Operator) Ask(ctx context.Context, method, path string, body, into any) error {
	kind := "application/json"
	content, signed := body.([]byte)
	switch {
	case signed:
		kind = "application/cose"
	case body != nil:
		var err error
		if content, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, o.URL+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+o.Bearer)
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	res, err := o.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, b)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}
