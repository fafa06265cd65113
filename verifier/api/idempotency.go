package api

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// A client that does not know whether a write was done may send it again with the same Idempotency-Key
// (draft-ietf-httpapi-idempotency-key-header-07): it is done once and both get the same answer. A key is remembered for
// requestLifetime, for the principal that sent it.
//
// The store has a key's digest only, and answers are sealed under the key itself, so that who reads the database learns
// no secret that an answer had, such as a new token. That is worth what the key is worth: clients should send a random
// one, such as a UUID.

// conduct serves a request whose credential and role were checked.
func (s *server) conduct(w http.ResponseWriter, r *http.Request, route string) {
	switch {
	case lasting[route]:
		s.mux.ServeHTTP(w, r)
	case safe(r.Method):
		s.tagged(w, r, route, s.mux)
	default:
		s.once(w, r, route, func(w http.ResponseWriter, r *http.Request) { s.tagged(w, r, route, s.mux) })
	}
}

// answer is what a write was answered, as it is kept.
type answer struct {
	Status int               `json:"s"`
	Header map[string]string `json:"h"`
	Body   []byte            `json:"b"`
}

// repeated are the headers of an answer that its repetition has too. Cookies are not among them.
var repeated = []string{"Content-Type", "Etag", "Location"}

// once does a write that has an Idempotency-Key once. Others it passes on.
func (s *server) once(w http.ResponseWriter, r *http.Request, route string, next func(http.ResponseWriter, *http.Request)) {
	key, err := idempotencyKey(r)
	p := principalOf(r.Context())
	if err != nil {
		writeProblem(w, r, s.problem(r.Context(), err))
		return
	}
	if key == "" || p.name == "" { // strangers have no keys of their own
		next(w, r)
		return
	}
	// What has begun is done, though the client may go away: it comes back for the answer.
	ctx := context.WithoutCancel(r.Context())
	if deadline, ok := r.Context().Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	r = r.WithContext(ctx)
	asked, err := s.remembered(r, p, key)
	if err != nil {
		writeProblem(w, r, s.problem(ctx, err))
		return
	}
	earlier, begun, err := s.Store.BeginRequest(ctx, asked)
	if err != nil {
		if errors.Is(err, store.ErrTooMany) {
			w.Header().Set("Retry-After", "3600")
			err = problemf(http.StatusTooManyRequests, "%d writes with an Idempotency-Key are remembered for you: send this one "+
				"without, or later", store.MaxRequests)
		}
		writeProblem(w, r, s.problem(ctx, err))
		return
	}
	if !begun {
		s.repeat(w, r, route, key, asked, earlier)
		return
	}
	held := &heldAnswer{header: w.Header().Clone()}
	next(held, r)
	held.WriteHeader(http.StatusOK) // unless it has one
	s.settle(ctx, asked, key, held)
	held.send(w)
}

// idempotencyKey returns the key of a request, "" for none. It is a string of structured fields (RFC 9651, section
// 3.3.3), or the same without quotes.
func idempotencyKey(r *http.Request) (string, error) {
	header := r.Header.Values("Idempotency-Key")
	if len(header) == 0 {
		return "", nil
	}
	key := header[0]
	if len(key) > 1 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	if len(header) > 1 || len(key) < minRequestKey || len(key) > maxRequestKey || strings.ContainsFunc(key, odd) {
		return "", problemf(http.StatusBadRequest, "header Idempotency-Key: want one of %d to %d visible characters, such as a "+
			"new UUID for each write", minRequestKey, maxRequestKey)
	}
	return key, nil
}

// remembered reads a request's body and returns what is remembered of it.
func (s *server) remembered(r *http.Request, p principal, key string) (store.Request, error) {
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return store.Request{}, problemf(http.StatusRequestEntityTooLarge, "the request has more than %d bytes", large.Limit)
	case err != nil:
		return store.Request{}, problemf(http.StatusBadRequest, "the request ended before it was whole")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	h := sha256.New()
	for _, part := range []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Content-Type"), r.Header.Get("If-Match")} {
		fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	h.Write(body)
	now := s.Now().UTC()
	return store.Request{
		Tenant: p.tenant, Principal: p.kind + ":" + p.name, Key: sha256.Sum256([]byte("probity idempotency key\x00" + key)),
		Digest: [32]byte(h.Sum(nil)), Began: now, Expires: now.Add(requestLifetime),
	}, nil
}

// repeat answers a write whose key was used before.
func (s *server) repeat(w http.ResponseWriter, r *http.Request, route, key string, asked, earlier store.Request) {
	if asked.Digest != earlier.Digest {
		writeProblem(w, r, problemf(http.StatusUnprocessableEntity,
			"this Idempotency-Key was used for another request: use a new one for each write"))
		return
	}
	if !earlier.Done {
		if s.Now().Sub(earlier.Began) <= 2*handleTimeout+uploadTime(route) {
			w.Header().Set("Retry-After", "1")
			writeProblem(w, r, problemf(http.StatusConflict, "the same request is being done: try again"))
			return
		}
		writeProblem(w, r, problemf(http.StatusConflict, "the same request was begun at %s and never finished, so that nobody "+
			"knows what of it was done: look, and send what is missing with a new Idempotency-Key",
			earlier.Began.Format(time.RFC3339)))
		return
	}
	if earlier.Answer == nil {
		writeProblem(w, r, problemf(http.StatusConflict, "the same request was done at %s and its answer was too large to keep: "+
			"read what it changed", earlier.Began.Format(time.RFC3339)))
		return
	}
	a, err := unseal(key, &earlier)
	if err != nil {
		writeProblem(w, r, s.problem(r.Context(), fmt.Errorf("kept answer: %w", err)))
		return
	}
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Idempotent-Replayed", "true")
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client is gone: nobody to tell
}

// settle keeps the answer, or forgets a request that may be tried again: one that failed, or met another's change.
func (s *server) settle(ctx context.Context, asked store.Request, key string, held *heldAnswer) {
	// The answer counts even where the time of the request is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handleTimeout)
	defer cancel()
	var err error
	if again(held.status) {
		err = s.Store.ForgetRequest(ctx, asked.Tenant, asked.Principal, asked.Key)
	} else {
		var sealed []byte
		if held.body.Len() <= maxAnswer {
			sealed, err = seal(key, &asked, held.answer())
		}
		if err == nil {
			err = s.Store.FinishRequest(ctx, asked.Tenant, asked.Principal, asked.Key, sealed)
		}
	}
	if err != nil {
		s.Log.Error("answer to a write is not remembered: a repetition is refused", "request", requestOf(ctx).id, "error", err)
	}
}

// again reports whether a request that was answered so may be done again.
func again(status int) bool {
	switch status {
	case http.StatusConflict, http.StatusPreconditionFailed, http.StatusTooManyRequests, http.StatusRequestTimeout:
		return true
	}
	return status >= http.StatusInternalServerError
}

// sealer returns what answers are sealed with: AES-256-GCM (NIST SP 800-38D) under a key derived from the client's
// (HKDF, RFC 5869).
func sealer(key string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, []byte(key), nil, "probity idempotency answer", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func seal(key string, r *store.Request, a *answer) ([]byte, error) {
	aead, err := sealer(key)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, b, bound(r)), nil
}

func unseal(key string, r *store.Request) (*answer, error) {
	aead, err := sealer(key)
	if err != nil {
		return nil, err
	}
	b, err := aead.Open(nil, nil, r.Answer, bound(r))
	if err != nil {
		return nil, err
	}
	a := &answer{}
	return a, json.Unmarshal(b, a)
}

// bound is what an answer is bound to: whoever can write the database cannot move it to another principal or request.
func bound(r *store.Request) []byte {
	return append([]byte(r.Tenant+"\x00"+r.Principal+"\x00"), r.Digest[:]...)
}

// heldAnswer is an answer that is kept before it is sent.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (h *heldAnswer) Header() http.Header { return h.header }

// WriteHeader implements http.ResponseWriter.
func (h *heldAnswer) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}

// Write implements http.ResponseWriter.
func (h *heldAnswer) Write(b []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.body.Write(b)
}

func (h *heldAnswer) answer() *answer {
	a := &answer{Status: h.status, Header: map[string]string{}, Body: h.body.Bytes()}
	for _, name := range repeated {
		if v := h.header.Get(name); v != "" {
			a.Header[name] = v
		}
	}
	return a
}

func (h *heldAnswer) send(w http.ResponseWriter) {
	for name, values := range h.header {
		w.Header()[name] = values
	}
	w.WriteHeader(h.status)
	_, _ = h.body.WriteTo(w) // the client is gone: nobody to tell
}
