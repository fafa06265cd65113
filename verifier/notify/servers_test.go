package notify

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// identity makes a certificate for 127.0.0.1 and the pool that trusts it.
func identity(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "receiver"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// listen serves TCP connections, each with handle, until the test ends.
func listen(t *testing.T, config *tls.Config, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// syslogServer takes messages that are counted in octets (RFC 6587, section 3.4.1).
func syslogServer(t *testing.T, config *tls.Config) (address string, got <-chan string) {
	t.Helper()
	out := make(chan string, 16)
	return listen(t, config, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			count, err := in.ReadString(' ')
			if err != nil {
				return
			}
			n, err := strconv.Atoi(strings.TrimSpace(count))
			if err != nil || n > 1<<16 {
				out <- "no count: " + count
				return
			}
			b := make([]byte, n)
			if _, err := io.ReadFull(in, b); err != nil {
				return
			}
			out <- string(b)
		}
	}), out
}

// letterOf is a mail as a server took it.
type letterOf struct {
	from, user, password string
	to                   []string
	secure               bool
	data                 string
}

// mailServer is a small SMTP server (RFC 5321) with STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954).
type mailServer struct {
	address string
	config  *tls.Config // nil: no STARTTLS
	refuse  string      // answer to DATA instead of taking it
	drops   bool        // it ends the connection once it has a letter
	got     chan letterOf

	mu        sync.Mutex
	mailboxes map[string]string // answers for recipients that it refuses
}

// refused makes the server answer for a recipient; empty: it takes letters again.
func (s *mailServer) refused(recipient, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mailboxes[recipient] = answer
}

func newMailServer(t *testing.T, config *tls.Config, implicit bool) *mailServer {
	t.Helper()
	s := &mailServer{config: config, got: make(chan letterOf, 16), mailboxes: make(map[string]string)}
	var outer *tls.Config
	if implicit {
		outer = config
	}
	s.address = listen(t, outer, func(c net.Conn) { s.serve(c, implicit) })
	return s
}

func (s *mailServer) serve(c net.Conn, secure bool) {
	in, l := bufio.NewReader(c), letterOf{secure: secure}
	say := func(format string, a ...any) { fmt.Fprintf(c, format+"\r\n", a...) }
	say("220 mail.test ESMTP")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		switch verb, rest, _ := strings.Cut(line, " "); strings.ToUpper(verb) {
		case "EHLO":
			say("250-mail.test")
			if s.config != nil && !l.secure {
				say("250-STARTTLS")
			} else if l.secure {
				say("250-AUTH PLAIN")
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go ahead")
			t := tls.Server(c, s.config)
			if t.Handshake() != nil {
				return
			}
			c, in, l = t, bufio.NewReader(t), letterOf{secure: true}
		case "AUTH":
			raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			parts := strings.Split(string(raw), "\x00")
			if len(parts) == 3 && parts[2] != "wrong" {
				l.user, l.password = parts[1], parts[2]
				say("235 welcome")
			} else {
				say("535 5.7.8 no: %s", parts[len(parts)-1]) // a server that repeats the password
			}
		case "MAIL":
			l.from = rest
			say("250 ok")
		case "RCPT":
			_, address, _ := strings.Cut(rest, "<")
			address, _, _ = strings.Cut(address, ">")
			s.mu.Lock()
			answer := s.mailboxes[address]
			s.mu.Unlock()
			if answer != "" {
				say("%s", answer)
				continue
			}
			l.to = append(l.to, rest)
			say("250 ok")
		case "DATA":
			if s.refuse != "" {
				say("%s", s.refuse)
				continue
			}
			say("354 go ahead")
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				l.data += line
			}
			s.got <- l
			l.to, l.data = nil, ""
			say("250 taken")
			if s.drops {
				return
			}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// wait returns what comes, or fails.
func wait[T any](t *testing.T, got <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-got:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}
