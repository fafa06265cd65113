package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// localContext names the connection that the verifier keeps on its own machine, unless the user's file has one of
	// that name.
	localContext = "local"
	// loneContext names the connection of a file that holds only one, without a name.
	loneContext = "default"
	// maxContextName is the longest name of a context in bytes.
	maxContextName = 64
)

// contextFile is a file of connections: either one, as url, ca_fingerprint and token, or several under contexts, of which
// current is used when none is asked for.
type contextFile struct {
	settings `yaml:",inline"`
	Current  string              `yaml:"current,omitempty"`
	Contexts map[string]settings `yaml:"contexts,omitempty"`
}

// readContexts reads a file. Whatever its form, the answer has named contexts.
func readContexts(name string) (contextFile, error) {
	var file contextFile
	f, err := os.Open(name)
	if err != nil {
		return file, fmt.Errorf("connection file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return file, fmt.Errorf("connection file: %w", err)
	}
	if len(b) > maxSettings {
		return file, fmt.Errorf("connection file %s: larger than %d bytes", name, maxSettings)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return file, fmt.Errorf("connection file %s: %w; its keys are url, ca_fingerprint and token, "+
			"or certificate and key, or current and contexts with these for each name", name, err)
	}
	if file.settings != (settings{}) {
		if len(file.Contexts) > 0 || file.Current != "" {
			return file, fmt.Errorf("connection file %s: has url, ca_fingerprint or token beside contexts: move them into one", name)
		}
		file.Current, file.Contexts = loneContext, map[string]settings{loneContext: file.settings}
		file.settings = settings{}
	}
	for n := range file.Contexts {
		if err := checkContextName(n); err != nil {
			return file, fmt.Errorf("connection file %s: %w", name, err)
		}
	}
	return file, nil
}

// userContexts reads the user's file; one that is not there is empty.
func userContexts() (contextFile, error) {
	file, err := readContexts(userContext())
	if errors.Is(err, fs.ErrNotExist) {
		return contextFile{}, nil
	}
	return file, err
}

// names returns the names of the contexts in order.
func (f *contextFile) names() []string { return keysOf(f.Contexts) }

// chosen returns the name of the context that is used when none is asked for, empty if there is no context at all.
func (f *contextFile) chosen() (string, error) {
	switch {
	case f.Current != "":
		return f.Current, nil
	case len(f.Contexts) == 1:
		return f.names()[0], nil
	case len(f.Contexts) == 0:
		return "", nil
	}
	return "", fmt.Errorf("none of the contexts %s is current: see \"probity context use\"", strings.Join(f.names(), ", "))
}

// save writes the file so that nobody else can read it and a crash leaves the old or the new one.
func (f *contextFile) save(name string) (err error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(f), enc.Close()); err != nil {
		return fmt.Errorf("encode contexts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("connection file: %w", err)
	}
	t, err := os.CreateTemp(filepath.Dir(name), ".context.*") // mode 0600
	if err != nil {
		return fmt.Errorf("connection file: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("connection file: %w", errors.Join(err, os.Remove(t.Name())))
		}
	}()
	_, err = t.Write(buf.Bytes())
	if err = errors.Join(err, t.Sync(), t.Close()); err != nil {
		return err
	}
	return os.Rename(t.Name(), name)
}

// checkContextName keeps names apart from files, and harmless to shells.
func checkContextName(name string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	if name == "" || len(name) > maxContextName || strings.HasPrefix(name, "-") || isFileName(name) ||
		strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("context %q: want a name of letters, digits, dots, _ and -, at most %d, that does not end in .yaml",
			name, maxContextName)
	}
	return nil
}

// isFileName reports whether a context is asked for by its file.
func isFileName(s string) bool {
	return strings.ContainsAny(s, `/\`) || strings.HasSuffix(s, ".yaml") || strings.HasSuffix(s, ".yml")
}
