package main

import (
	"bytes"
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

	v1 "github.com/probity-attest/probity/verifier/api/v1"
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
}

func (a *app) client() (*client, error) {
	s, err := loadSettings(a.context)
	if err != nil {
		return nil, err
	}
	pin, err := s.fingerprint()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	return &client{
		base: strings.TrimRight(s.URL, "/"), token: s.Token, http: newHTTP(tlsConfig(u.Hostname(), pin)),
	}, nil
}

func newHTTP(config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, TLSHandshakeTimeout: 15 * time.Second,
			ForceAttemptHTTP2: true,
		},
		Timeout: requestTimeout,
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
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json, application/problem+json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the verifier's answer: %w", err)
	}
	if len(answer) > maxAnswer {
		return fmt.Errorf("the verifier's answer is larger than %d bytes: ask for less with --limit", maxAnswer)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return problem(res, answer)
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

// problem returns the error that an answer stands for.
func problem(res *http.Response, body []byte) error {
	p := &v1.Problem{}
	if err := json.Unmarshal(body, p); err != nil || p.Status != res.StatusCode {
		p = &v1.Problem{Status: res.StatusCode, Title: res.Status, Detail: res.Status + ": is this a Probity verifier?"}
	}
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return &exit{exitUnauthorised, fmt.Errorf("%w: the token is wrong, revoked or expired", p)}
	case http.StatusForbidden:
		return &exit{exitUnauthorised, p}
	case http.StatusConflict:
		if len(p.Candidates) > 0 {
			text := p.Detail
			for _, c := range p.Candidates {
				text += fmt.Sprintf("\n  %s  %s", c.ID, c.Label)
			}
			return errors.New(text)
		}
	}
	if p.Status >= http.StatusInternalServerError && p.Instance != "" {
		return fmt.Errorf("%w (%s)", p, p.Instance)
	}
	return p
}

// isMissing reports whether the verifier answered that there is no such thing.
func isMissing(err error) bool {
	var p *v1.Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}
