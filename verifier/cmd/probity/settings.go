package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// serverContext is where the verifier keeps the first operator's connection on its own machine.
const serverContext = "/var/lib/probity-verifier/operator.yaml"

// maxSettings is the largest connection file in bytes.
const maxSettings = 64 << 10

// settings name a verifier and how to be let in.
type settings struct {
	URL           string `yaml:"url"`            // such as https://verifier.example:8443
	CAFingerprint string `yaml:"ca_fingerprint"` // "sha256:" and the SHA-256 of the CA certificate's DER; empty: the system's CAs
	Token         string `yaml:"token"`          // operator token
}

const settingsHint = `set PROBITY_URL, PROBITY_CA_FINGERPRINT and PROBITY_TOKEN, or write url, ca_fingerprint and token to %s`

// loadSettings finds the connection: the file of --context, of PROBITY_CONTEXT, or the first readable default; then the
// environment.
func loadSettings(flag string) (settings, error) {
	var s settings
	name, err := settingsFile(flag)
	if err != nil {
		return s, err
	}
	if name != "" {
		if s, err = readSettings(name); err != nil {
			return s, err
		}
	}
	for key, field := range map[string]*string{
		"PROBITY_URL": &s.URL, "PROBITY_CA_FINGERPRINT": &s.CAFingerprint, "PROBITY_TOKEN": &s.Token,
	} {
		if v := os.Getenv(key); v != "" {
			*field = v
		}
	}
	return s, s.check()
}

// settingsFile returns the file to read, empty for none. A file that was asked for must be there, a default need not.
func settingsFile(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if name := os.Getenv("PROBITY_CONTEXT"); name != "" {
		return name, nil
	}
	for _, name := range []string{userContext(), serverContext} {
		f, err := os.Open(name)
		if err == nil {
			return name, f.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return "", err
		}
	}
	return "", nil
}

func userContext() string {
	dir, err := os.UserConfigDir()
	if err != nil { // no home directory
		return serverContext
	}
	return filepath.Join(dir, "probity", "context.yaml")
}

func readSettings(name string) (settings, error) {
	var s settings
	f, err := os.Open(name)
	if err != nil {
		return s, fmt.Errorf("connection file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettings))
	if err != nil {
		return s, fmt.Errorf("connection file: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return s, fmt.Errorf("connection file %s: %w; its keys are url, ca_fingerprint and token", name, err)
	}
	return s, nil
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
	if s.Token == "" {
		return &exit{exitUnauthorised, fmt.Errorf("no operator token: "+settingsHint, userContext())}
	}
	if strings.ContainsFunc(s.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return &exit{exitUnauthorised, errors.New("operator token: holds a character that no token has; copy it again")}
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
