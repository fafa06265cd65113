package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	caFile      = "ca.pem"
	signingFile = "signing.pem"
	serverFile  = "server.pem"
	// maxFile bounds what is read as PEM, in bytes.
	maxFile = 64 << 10
)

// ErrState is returned where the folder's files do not belong together.
var ErrState = errors.New("state of the authority is damaged")

// Open reads the authority from its folder or makes a new one in an empty one. The files of a first start are written
// in the order signing.pem, ca.pem, server.pem, so that what an interrupted one left is told from a loss: signing.pem
// alone is continued, a missing file before one that exists is ErrState.
func Open(c Config) (*Authority, error) {
	if c.Dir == "" {
		return nil, errors.New("open authority: no folder given")
	}
	c = c.withDefaults()
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	have := make(map[string]bool)
	for _, name := range []string{serverFile, caFile, signingFile} { // a file that another verifier writes now comes later
		_, err := os.Lstat(filepath.Join(c.Dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open authority: %w", err)
		}
		have[name] = err == nil
	}
	switch {
	case have[caFile] && !have[signingFile]:
		return nil, fmt.Errorf("%w: %s has %s and no %s: restore it from a backup", ErrState, c.Dir, caFile, signingFile)
	case have[serverFile] && !have[caFile]:
		return nil, fmt.Errorf("%w: %s has %s and no %s: restore it from a backup, or remove all three files to start anew with "+
			"another CA, which every agent must then be told", ErrState, c.Dir, serverFile, caFile)
	}
	a := &Authority{config: c}
	if err := a.openSigning(); err != nil {
		return nil, err
	}
	if err := a.openCA(); err != nil {
		return nil, err
	}
	if err := a.openServer(have[serverFile]); err != nil {
		return nil, err
	}
	return a, nil
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.DeviceLifetime == 0 {
		c.DeviceLifetime = DefaultDeviceLifetime
	}
	if len(c.Hosts) == 0 {
		if name, err := os.Hostname(); err == nil && name != "" && name != "localhost" {
			c.Hosts = append(c.Hosts, name)
		}
		c.Hosts = append(c.Hosts, "localhost", "127.0.0.1", "::1")
	}
	return c
}

func (a *Authority) openSigning() error {
	_, key, err := a.read(signingFile)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = newKey(); err != nil {
			return err
		}
		if err = a.create(signingFile, nil, key); errors.Is(err, fs.ErrExist) { // another verifier was first
			_, key, err = a.read(signingFile)
		}
	}
	a.signing = key
	return err
}

func (a *Authority) openCA() error {
	certs, key, err := a.read(caFile)
	if errors.Is(err, fs.ErrNotExist) {
		if certs, key, err = a.newCA(); err != nil {
			return err
		}
		if err = a.create(caFile, certs, key); errors.Is(err, fs.ErrExist) {
			certs, key, err = a.read(caFile)
		}
	}
	if err != nil {
		return err
	}
	path := filepath.Join(a.config.Dir, caFile)
	if len(certs) != 1 {
		return fmt.Errorf("%w: %s: want one certificate and its key, got %d certificates", ErrState, path, len(certs))
	}
	cert := certs[0]
	if !cert.IsCA || cert.CheckSignatureFrom(cert) != nil {
		return fmt.Errorf("%w: %s: not the self-signed certificate of a CA", ErrState, path)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return fmt.Errorf("%w: %s: key and certificate do not belong together: restore it from a backup", ErrState, path)
	}
	if now := a.config.Now(); now.After(cert.NotAfter) {
		return fmt.Errorf("%w: %s expired at %s", ErrState, path, cert.NotAfter.Format(time.RFC3339))
	}
	if key.PublicKey.Equal(&a.signing.PublicKey) {
		return fmt.Errorf("%w: %s and %s hold the same key: want two", ErrState, caFile, signingFile)
	}
	a.cert, a.key = cert, key
	return nil
}

func (a *Authority) openServer(exists bool) error {
	if exists {
		certs, key, err := a.read(serverFile)
		if err != nil {
			return err
		}
		path := filepath.Join(a.config.Dir, serverFile)
		if len(certs) == 0 || certs[0].CheckSignatureFrom(a.cert) != nil || !key.PublicKey.Equal(certs[0].PublicKey) {
			return fmt.Errorf("%w: %s does not hold a key and its certificate of this CA: remove it, it is made again", ErrState, path)
		}
		a.server = a.serverPair(certs[0], key)
	}
	_, err := a.serverCertificate()
	return err
}

func (a *Authority) newCA() ([]*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	tag := make([]byte, 4)
	if _, err := rand.Read(tag); err != nil {
		return nil, nil, fmt.Errorf("make CA: %w", err)
	}
	now := a.config.Now()
	template := &x509.Certificate{
		Subject:        pkix.Name{CommonName: "Probity device CA " + hex.EncodeToString(tag)},
		NotBefore:      now.Add(-backdate),
		NotAfter:       now.Add(CALifetime),
		IsCA:           true,
		MaxPathLenZero: true,
		KeyUsage:       x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	return []*x509.Certificate{cert}, key, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// read returns the certificates and the one P-256 key of a file. Everything else in it is an error.
func (a *Authority) read(name string) ([]*x509.Certificate, *ecdsa.PrivateKey, error) {
	path := filepath.Join(a.config.Dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open authority: %w", err)
	}
	if info.Size() > maxFile {
		return nil, nil, fmt.Errorf("%w: %s: %d bytes, at most %d allowed", ErrState, path, info.Size(), maxFile)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, nil, fmt.Errorf("%w: %s holds a private key and everybody may use it (mode %04o): chmod 600 it",
			ErrState, path, info.Mode().Perm())
	}
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open authority: %w", err)
	}
	var certs []*x509.Certificate
	var key *ecdsa.PrivateKey
	for len(bytes.TrimSpace(rest)) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, nil, fmt.Errorf("%w: %s: not PEM from byte %d on", ErrState, path, info.Size()-int64(len(rest)))
		}
		switch {
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("%w: %s: %w", ErrState, path, err)
			}
			certs = append(certs, c)
		case block.Type == "PRIVATE KEY" && key == nil:
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("%w: %s: %w", ErrState, path, err)
			}
			ec, ok := k.(*ecdsa.PrivateKey)
			if !ok || ec.Curve != elliptic.P256() {
				return nil, nil, fmt.Errorf("%w: %s: want an ECDSA P-256 key, got %T", ErrState, path, k)
			}
			key = ec
		default:
			return nil, nil, fmt.Errorf("%w: %s: unexpected PEM block %q", ErrState, path, block.Type)
		}
	}
	if key == nil {
		return nil, nil, fmt.Errorf("%w: %s holds no private key: restore it from a backup", ErrState, path)
	}
	return certs, key, nil
}

func (a *Authority) writeServer(c *tls.Certificate) error {
	key, ok := c.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("write server key: %T", c.PrivateKey)
	}
	return a.write(serverFile, []*x509.Certificate{c.Leaf, a.cert}, key, os.Rename)
}

// create writes a file that must not exist yet: os.Link, unlike os.Rename, never replaces one.
func (a *Authority) create(name string, certs []*x509.Certificate, key *ecdsa.PrivateKey) error {
	return a.write(name, certs, key, os.Link)
}

// write makes the whole file under a temporary name, syncs it and puts it in place.
func (a *Authority) write(
	name string, certs []*x509.Certificate, key *ecdsa.PrivateKey, place func(from, to string) error,
) (err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	var out bytes.Buffer
	for _, c := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	out.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	f, err := os.CreateTemp(a.config.Dir, "."+name+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err = f.Write(out.Bytes()); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := place(f.Name(), filepath.Join(a.config.Dir, name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	dir, err := os.Open(a.config.Dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
