package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files of the state directory.
const (
	certificateFile = "certificate.pem" // the device's chain; public
	keyFile         = "software-key.pem"
)

// maxStateFile is the largest file that is read from the state directory, in bytes.
const maxStateFile = 128 << 10

// stateDir is where the agent keeps what it can't make again. It implements link.Certificates.
type stateDir string

// Load implements link.Certificates.
func (d stateDir) Load() ([][]byte, error) {
	b, err := d.read(certificateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var chain [][]byte
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes)
		}
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s: no certificate in it", d.path(certificateFile))
	}
	return chain, nil
}

// Save implements link.Certificates.
func (d stateDir) Save(chain [][]byte) error {
	var out []byte
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return d.write(certificateFile, out, os.Rename)
}

// softwareKey returns the key of a device without a TPM and makes it the first time. Of two agents that start at once
// only one makes the key; the other takes it up.
func (d stateDir) softwareKey() (*ecdsa.PrivateKey, error) {
	key, err := d.loadKey()
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("software key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("software key: %w", err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := d.write(keyFile, b, os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("software key: %w: the state directory must be writable and lasting, "+
			"or the device is another one after each start", err)
	}
	return d.loadKey()
}

func (d stateDir) loadKey() (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(d.path(keyFile))
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode %#o lets others read the device's identity: chmod 0600 it", d.path(keyFile), mode)
	}
	b, err := d.read(keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: not PEM: restore it, or remove it to become a new device", d.path(keyFile))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(keyFile), err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s: want a P-256 key", d.path(keyFile))
	}
	return key, nil
}

func (d stateDir) path(name string) string { return filepath.Join(string(d), name) }

func (d stateDir) read(name string) ([]byte, error) {
	info, err := os.Stat(d.path(name))
	if err != nil {
		return nil, err
	}
	if info.Size() > maxStateFile {
		return nil, fmt.Errorf("%s: %d bytes, at most %d expected", d.path(name), info.Size(), maxStateFile)
	}
	return os.ReadFile(d.path(name))
}

// write writes a file so that it is there as a whole or not at all: into a temporary file, synced, then put in place by
// place, os.Rename (replaces) or os.Link (fails with fs.ErrExist).
func (d stateDir) write(name string, content []byte, place func(from, to string) error) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(string(d), name+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), d.path(name)); err != nil {
		return err
	}
	dir, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
