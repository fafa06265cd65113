package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of one request.
const (
	requestTimeout = 60 * time.Second
	maxAnswer      = 64 << 20 // bytes
)

// client talks to a verifier's API.
type client struct {
	base  string
	token string
	http  *http.Client
	// instead takes the place of requests that change something; nil: they are sent.
	instead func(method, path string, query url.Values, in any) error
}

// client returns the client of the verifier that was asked for.
func (a *app) client() (*client, error) {
	if a.connected != nil {
		return a.connected, nil
	}
	s, err := loadSettings(a.context)
	if err != nil {
		return nil, err
	}
	c, err := newClient(s)
	if err != nil {
		return nil, err
	}
	if a.dryRun {
		c.instead = a.showRequest
	}
	a.connected = c
	return c, nil
}

// newClient returns the client of a verifier.
func newClient(s settings) (*client, error) {
	pin, err := s.fingerprint()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	config := tlsConfig(u.Hostname(), pin)
	if s.Token == "" && s.Certificate != "" { // two ways at once would leave open who asks
		pair, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &client{base: strings.TrimRight(s.URL, "/"), token: s.Token, http: newHTTP(config)}, nil
}

func newHTTP(config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, TLSHandshakeTimeout: 15 * time.Second,
			ForceAttemptHTTP2: true,
		},
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// tlsConfig trusts the CA whose certificate has the digest pin and no other, or the system's CAs without a pin. With a
// pin, what crypto/tls would verify is verified here, in order: the chain holds a certificate with the pinned digest, the
// server's own certificate chains to it, is in its time, is for servers, and has the host's name.
func tlsConfig(host string, pin []byte) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if pin == nil {
		return c
	}
	c.InsecureSkipVerify = true // VerifyConnection does it
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		opts := x509.VerifyOptions{
			Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), DNSName: host,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		var last []byte
		found := false
		for _, cert := range cs.PeerCertificates {
			sum := sha256.Sum256(cert.Raw)
			last = sum[:]
			if subtle.ConstantTimeCompare(last, pin) == 1 {
				opts.Roots.AddCert(cert)
				found = true
			} else {
				opts.Intermediates.AddCert(cert)
			}
		}
		if !found {
			return &pinError{offered: last}
		}
		_, err := cs.PeerCertificates[0].Verify(opts)
		return err
	}
	return c
}

// pinError tells that a server is not the pinned one.
type pinError struct{ offered []byte }

func (e *pinError) Error() string {
	return fmt.Sprintf("the server's CA is sha256:%s, not the one in ca_fingerprint: either somebody is in between, "+
		"or the verifier has a new CA; compare with what the verifier itself prints", hex.EncodeToString(e.offered))
}

// call sends in, if it is not nil, and decodes the answer into out, if it is not nil.
func (c *client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	if c.instead != nil && changesSomething(method, path, in) {
		return c.instead(method, path, query, in)
	}
	r := request{method: method, path: path, query: query, accept: jsonAnswer, timeout: requestTimeout}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		r.body, r.kind = b, "application/json"
	}
	res, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return decode(res.Body, out)
}

// decode reads an answer into out, if it is not nil.
func decode(r io.Reader, out any) error {
	answer, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the verifier's answer: %w", err)
	}
	if len(answer) > maxAnswer {
		return fmt.Errorf("the verifier's answer is larger than %d bytes: ask for less with --limit", maxAnswer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the verifier's answer is not what this version of probity understands: %w", err)
	}
	return nil
}

// unreachable says what to look at when there is no answer.
func (c *client) unreachable(err error) error {
	var pin *pinError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.As(err, &pin):
		return pin
	case errors.As(err, &unknown):
		return fmt.Errorf("%s: %w: set ca_fingerprint to what the verifier prints", c.base, unknown)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("cannot reach the verifier at %s: %w: is it running, and the url right?", c.base, err)
}
