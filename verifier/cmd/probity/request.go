package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

const (
	// jsonAnswer is what most answers are.
	jsonAnswer = "application/json, application/problem+json"
	// idempotencyKey names a change, so that sending it once more does not do it once more.
	idempotencyKey = "Idempotency-Key"
	// mostAttempts is how often a request is sent that the verifier puts off.
	mostAttempts = 4
	// longestPutOff is the longest time that is waited when the verifier names one; beyond, the user decides.
	longestPutOff = 20 * time.Second
	// maxProblem is the largest problem document that is read, in bytes.
	maxProblem = 1 << 20
)

// request is a request to the verifier.
type request struct {
	method, path string
	query        url.Values
	accept, kind string // media types of the answer and of body
	header       http.Header
	body         []byte
	timeout      time.Duration // of the whole exchange; 0: none
	also         int           // status that is an answer too, unless it comes with a problem document
}

// send sends a request and returns an answer of success, whose body the caller closes. Where the verifier asks to come
// back later it does so, a few times.
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	key := rand.Text()
	patient := *c.http
	patient.Timeout = r.timeout
	for attempt := 1; ; attempt++ {
		req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
		if err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		for name, values := range r.header {
			req.Header[name] = values
		}
		c.signIn(req)
		req.Header.Set("Accept", r.accept)
		if r.kind != "" {
			req.Header.Set("Content-Type", r.kind)
		}
		if r.method != http.MethodGet {
			req.Header.Set(idempotencyKey, key) // net/http also sends it again where a connection broke
		}
		res, err := patient.Do(req)
		if err != nil {
			return nil, c.unreachable(err)
		}
		if res.StatusCode >= 200 && res.StatusCode <= 299 || r.also == res.StatusCode && !isProblem(res) {
			return res, nil
		}
		answer, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
		_ = res.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("read the verifier's answer: %w", err)
		}
		wait, again := putOff(res)
		if again && attempt < mostAttempts && wait <= longestPutOff && pause(ctx, wait) {
			continue
		}
		return nil, problem(res, r.path, answer)
	}
}

// signIn says who asks, unless a client certificate does.
func (c *client) signIn(req *http.Request) {
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
}

// isProblem reports whether an answer is a problem document (RFC 9457, section 3).
func isProblem(res *http.Response) bool {
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return err != nil || kind == "application/problem+json"
}

// putOff reports whether the verifier did not look at a request and when to send it again (RFC 9110, section 10.2.3).
func putOff(res *http.Response) (time.Duration, bool) {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0, false
	}
	return time.Duration(seconds) * time.Second, true
}

// problem returns the error that an answer stands for.
func problem(res *http.Response, path string, body []byte) error {
	p := &v1.Problem{}
	if err := json.Unmarshal(body, p); err != nil || p.Status != res.StatusCode {
		p = &v1.Problem{Status: res.StatusCode, Title: res.Status, Detail: res.Status + ": is this a Probity verifier?"}
		if res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed {
			p.Detail = "the verifier does not know " + path + ": its version may be older than this tool's"
		}
		return p
	}
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return &exit{
			exitUnauthorised,
			fmt.Errorf("%w: the token is wrong, revoked or expired, "+
				"or no account has the certificate; see \"probity context show\"", p),
		}
	case http.StatusForbidden:
		return &exit{exitUnauthorised, p}
	case http.StatusNotFound:
		return noDevice(path, p)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%w; too many requests: wait, then try again", p)
	case http.StatusConflict:
		if len(p.Candidates) > 0 {
			text := p.Detail
			for _, c := range p.Candidates {
				text += fmt.Sprintf("\n  %s  %s", c.ID, safe(c.Label))
			}
			return errors.New(text)
		}
	}
	if p.Status >= http.StatusInternalServerError && p.Instance != "" {
		return fmt.Errorf("%w (%s)", p, p.Instance)
	}
	return p
}

// noDevice gives an answer that a device, or something of it, is not known the exit code for it. A capture that is not
// there says nothing of its device.
func noDevice(path string, p *v1.Problem) error {
	switch {
	case p.Detail == "no such resource": // which one?
		return fmt.Errorf("%w: %s", p, path)
	case !strings.HasPrefix(path, "/v1/devices/"), strings.Contains(path, "/captures/"):
		return p
	case strings.Contains(p.Detail, "no device"):
		return &exit{exitUnknown, fmt.Errorf("%w; see \"probity device list\"", p)}
	}
	return &exit{exitUnknown, p}
}

// isMissing reports whether the verifier answered that there is no such thing.
func isMissing(err error) bool {
	var p *v1.Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}

// save copies what the verifier answers to w and returns how many bytes it was. limit bounds it; 0: no limit.
func (c *client) save(ctx context.Context, r request, w io.Writer, limit int64) (int64, error) {
	res, err := c.send(ctx, r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body := io.Reader(res.Body)
	if limit > 0 {
		body = io.LimitReader(body, limit+1)
	}
	n, err := io.Copy(w, body)
	switch {
	case ctx.Err() != nil:
		return n, errors.New("interrupted")
	case err != nil:
		return n, fmt.Errorf("after %d bytes: %w", n, err)
	case limit > 0 && n > limit:
		return n, fmt.Errorf("the verifier's answer is larger than %d bytes", limit)
	}
	return n, nil
}
