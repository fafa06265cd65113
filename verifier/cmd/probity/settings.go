package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// serverContext is where the verifier keeps the first operator's connection on its own machine.
const serverContext = "/var/lib/probity-verifier/operator.yaml"

// maxSettings is the largest connection file in bytes.
const maxSettings = 64 << 10

// settings name a verifier and how to be let in.
type settings struct {
	URL string `yaml:"url,omitempty"` // such as https://verifier.example:8443
	// CAFingerprint is "sha256:" and the SHA-256 of the CA certificate's DER; empty: the system's CAs.
	CAFingerprint string `yaml:"ca_fingerprint,omitempty"`
	Token         string `yaml:"token,omitempty"` // API token
	// Certificate and Key are files with a client certificate of an account and its private key (PEM), in place of a
	// token.
	Certificate string `yaml:"certificate,omitempty"`
	Key         string `yaml:"key,omitempty"`
}

// settingsHint says how to name a verifier; it wants the user's file.
const settingsHint = `add one with
  probity context add NAME --url https://HOST:8443 --ca-fingerprint sha256:...
which keeps it in %s, or set PROBITY_URL, PROBITY_CA_FINGERPRINT and PROBITY_TOKEN`

// source is where a connection comes from.
type source struct {
	name string // of the context; empty: the environment alone
	file string
}

// loadSettings finds the connection: the context or file that asked names, or that of PROBITY_CONTEXT, or the current one
// of the user's file, or that of the verifier on this machine; then the environment.
func loadSettings(asked string) (settings, error) {
	s, _, err := findSettings(asked)
	if err != nil {
		return s, err
	}
	return s, s.check()
}

// findSettings is loadSettings without the check whether one can connect with what was found.
func findSettings(asked string) (settings, source, error) {
	if asked == "" {
		asked = os.Getenv("PROBITY_CONTEXT")
	}
	s, from, err := savedSettings(asked)
	if err != nil {
		return s, from, err
	}
	for key, field := range map[string]*string{
		"PROBITY_URL": &s.URL, "PROBITY_CA_FINGERPRINT": &s.CAFingerprint, "PROBITY_TOKEN": &s.Token,
		"PROBITY_CERTIFICATE": &s.Certificate, "PROBITY_KEY": &s.Key,
	} {
		if v := os.Getenv(key); v != "" {
			*field = v
		}
	}
	return s, from, nil
}

// savedSettings returns what files say. What was asked for must be there, a default need not.
func savedSettings(asked string) (settings, source, error) {
	if isFileName(asked) {
		return fileSettings(asked)
	}
	user, err := userContexts()
	if err != nil {
		return settings{}, source{}, err
	}
	name := asked
	if name == "" {
		if name, err = user.chosen(); err != nil {
			return settings{}, source{}, err
		}
	}
	if s, ok := user.Contexts[name]; ok {
		return s, source{name, userContext()}, nil
	}
	switch {
	case name == "":
		s, from, err := fileSettings(serverContext)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return settings{}, source{}, nil
		}
		from.name = localContext
		return s, from, err
	case name == localContext:
		s, from, err := fileSettings(serverContext)
		from.name = localContext
		return s, from, err
	case asked != "":
		if _, err := os.Stat(asked); err == nil {
			return fileSettings(asked)
		}
	}
	return settings{}, source{}, fmt.Errorf("there is no context %q: see \"probity context list\"", name)
}

// fileSettings returns the current connection of a file.
func fileSettings(name string) (settings, source, error) {
	file, err := readContexts(name)
	if err != nil {
		return settings{}, source{}, err
	}
	chosen, err := file.chosen()
	if err != nil {
		return settings{}, source{}, fmt.Errorf("connection file %s: %w", name, err)
	}
	s, ok := file.Contexts[chosen]
	if !ok && chosen != "" {
		return s, source{}, fmt.Errorf("connection file %s: there is no context %q in it", name, chosen)
	}
	return s, source{chosen, name}, nil
}

func userContext() string {
	dir, err := os.UserConfigDir()
	if err != nil { // no home directory
		return serverContext
	}
	return filepath.Join(dir, "probity", "context.yaml")
}

func (s settings) check() error {
	if s.URL == "" {
		return fmt.Errorf("no verifier is named: "+settingsHint, userContext())
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("url %q: want https://HOST[:PORT]; a token is never sent in the clear", s.URL)
	}
	if s.CAFingerprint != "" {
		if _, err := s.fingerprint(); err != nil {
			return err
		}
	}
	if (s.Certificate == "") != (s.Key == "") {
		return &exit{exitUnauthorised, errors.New("certificate and key: one is of no use without the other")}
	}
	if s.Token == "" && s.Certificate != "" {
		return nil
	}
	if s.Token == "" {
		return &exit{exitUnauthorised, errors.New(`no token: give one with "probity context add --replace", or set PROBITY_TOKEN`)}
	}
	if strings.ContainsFunc(s.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return &exit{exitUnauthorised, errors.New("token: holds a character that no token has; copy it again")}
	}
	return nil
}

// fingerprint returns the pinned digest, nil for none.
func (s settings) fingerprint() ([]byte, error) {
	if s.CAFingerprint == "" {
		return nil, nil
	}
	text, ok := strings.CutPrefix(s.CAFingerprint, "sha256:")
	sum, err := hex.DecodeString(text)
	if !ok || err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf(`ca_fingerprint %q: want "sha256:" and 64 hexadecimal digits, as the verifier prints it`,
			s.CAFingerprint)
	}
	return sum, nil
}
