package api_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/api"
)

// served runs the API, and a page of 64 MiB, for clients that may take a second for anything. cut hears of each client
// that did not take the page.
func served(t *testing.T, h *harness, wrap func(net.Listener) net.Listener) (address string, cut <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	big, failed := bytes.Repeat([]byte("x"), 1<<20), make(chan error, 64)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/big" {
			h.ServeHTTP(w, r)
			return
		}
		for range 64 {
			if _, err := w.Write(big); err != nil {
				failed <- err
				return
			}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.ServeImpatiently(ctx, wrap(l), handler) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	return l.Addr().String(), failed
}

func plainTCP(l net.Listener) net.Listener { return l }

// Clients that begin and do not go on, in every part of a request, are cut off one by one, and meanwhile everybody else
// is served as ever (ATTACKS row 16).
func TestSlowClients(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	address, cut := served(t, h, plainTCP)
	auth := "Authorization: Bearer " + h.token + "\r\n"
	slow := map[string][]net.Conn{}
	for name, says := range map[string]string{
		"silent":                  "",
		"half a line":             "GET /v1/dev",
		"half a header":           "GET /v1/devices HTTP/1.1\r\nHost: x\r\n" + auth + "X-Slow: ",
		"half a body":             "PATCH /v1/devices/abcd HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 900\r\n\r\n{",
		"half a chunk":            "POST /v1/tokens HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\nff\r\n{",
		"half a body, with a key": "POST /v1/tokens HTTP/1.1\r\nHost: x\r\n" + auth + "Idempotency-Key: " + keyOne + "\r\nContent-Length: 900\r\n\r\n{",
		"half a body, a stranger": "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{",
		"reads nothing":           "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
		"idle":                    "GET /v1/keys HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		for range 5 {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.(*net.TCPConn).SetReadBuffer(4096)
			if _, err := io.WriteString(c, says); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			slow[name] = append(slow[name], c)
		}
	}
	var took []time.Duration
	client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
		began := time.Now()
		r, err := http.NewRequest("GET", "http://"+address+"/v1/counts", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+h.token)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("another client got status %d, %v", res.StatusCode, err)
		}
		_ = res.Body.Close()
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	if p90 := took[len(took)*9/10]; p90 > time.Second {
		t.Errorf("another client waited %v, want under a second", p90)
	}
	patience := time.Now().Add(30 * time.Second) // for all of them together
	for range slow["reads nothing"] {
		select {
		case <-cut:
		case <-time.After(time.Until(patience)):
			t.Fatal("a client that reads nothing still holds its answer")
		}
	}
	delete(slow, "reads nothing") // what lies in the buffers comes slowly
	for name, conns := range slow {
		for _, c := range conns {
			_ = c.SetReadDeadline(patience)
			if _, err := io.Copy(io.Discard, c); isTimeout(err) {
				t.Errorf("a client is still connected: %s", name)
				break
			}
		}
	}
	if list, err := h.store.Tokens(context.Background(), "acme"); err != nil || len(list) != 1 {
		t.Errorf("%d tokens, %v: half a request made one", len(list), err)
	}
}

// The same for who does not go on inside of TLS.
func TestSlowHandshake(t *testing.T) {
	h := newHarness(t)
	address, _ := served(t, h, func(l net.Listener) net.Listener {
		return tls.NewListener(l, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, errors.New("no handshake gets this far")
		}})
	})
	for _, says := range []string{"", "\x16\x03\x01\x02"} { // nothing, and part of a ClientHello
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, says); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Errorf("a client that says %q is still connected", says)
		}
	}
}

// Requests that are too large for what they are, are refused before they are read.
func TestLargeRequests(t *testing.T) {
	h := newHarness(t)
	address, _ := served(t, h, plainTCP)
	auth := "Authorization: Bearer " + h.token + "\r\n"
	for name, test := range map[string]struct{ says, want string }{
		"header": {"GET /v1/keys HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "431"},
		"body": {
			fmt.Sprintf("POST /v1/tokens HTTP/1.1\r\nHost: x\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", auth, 1<<20, strings.Repeat(" ", 64<<10)), "413",
		},
		"body with a key": {
			fmt.Sprintf("POST /v1/tokens HTTP/1.1\r\nHost: x\r\nIdempotency-Key: %s\r\n%sContent-Length: %d\r\n\r\n%s", keyOne, auth, 1<<20, strings.Repeat(" ", 64<<10)), "413",
		},
	} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		go func() { _, _ = io.WriteString(c, test.says) }() // the server may stop reading
		b := make([]byte, 12)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "HTTP/1.1 "+test.want {
			t.Errorf("%s: %q, %v, want status %s", name, b, err, test.want)
		}
		_ = c.Close()
	}
}
