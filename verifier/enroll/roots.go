package enroll

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// roots is the folder of TPM makers' certificates. What was read is kept until the folder's files change.
type roots struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	state string // names, sizes and times of the files that set was read from
	set   *rootSet
}

// rootSet is what the folder holds. It does not change.
type rootSet struct {
	roots, between *x509.CertPool
	names          []string // subjects of the roots
	problems       []string // what could not be read
}

// current returns the set, read again if the folder changed. A folder that cannot be listed is an error at first and
// later means that the last set stays in force: a mount that fails for a moment must not take every device's level.
func (r *roots) current() (*rootSet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dir == "" {
		if r.set == nil {
			r.set = &rootSet{roots: x509.NewCertPool(), between: x509.NewCertPool()}
		}
		return r.set, nil
	}
	files, state, err := list(r.dir)
	if err != nil {
		if r.set == nil {
			return nil, err
		}
		r.log.Error("TPM makers' roots cannot be read, the last ones stay in force", "folder", r.dir, "error", err)
		return r.set, nil
	}
	if r.set != nil && state == r.state {
		return r.set, nil
	}
	set := &rootSet{roots: x509.NewCertPool(), between: x509.NewCertPool()}
	for _, f := range files {
		set.read(f)
	}
	for _, p := range set.problems {
		r.log.Warn("TPM maker's certificate left out", "problem", p)
	}
	r.log.Info("TPM makers' roots read", "folder", r.dir, "roots", len(set.names))
	r.state, r.set = state, set
	return set, nil
}

// list returns the certificate files of the folder and a text that changes when they do.
func list(dir string) (files []string, state string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, "", err
	}
	var b strings.Builder
	for _, e := range entries {
		switch strings.ToLower(filepath.Ext(e.Name())) {
		case ".pem", ".crt", ".cer", ".der":
		default:
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // follows links: Kubernetes mounts are links
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		if len(files) == maxRootFiles {
			return nil, "", fmt.Errorf("%s: more than %d files", dir, maxRootFiles)
		}
		files = append(files, path)
		fmt.Fprintf(&b, "%s\x00%d\x00%d\x00", e.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return files, b.String(), nil
}

func (s *rootSet) problem(path string, err error) {
	s.problems = append(s.problems, fmt.Sprintf("%s: %v", path, err))
}

// read adds the certificates of one file: PEM blocks, or one in DER.
func (s *rootSet) read(path string) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxRootFile {
		err = fmt.Errorf("%d bytes, at most %d allowed", info.Size(), maxRootFile)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		s.problem(path, err)
		return
	}
	if !bytes.Contains(b, []byte("-----BEGIN")) {
		s.add(path, b)
		return
	}
	for n := 0; ; n++ {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			if n == 0 {
				s.problem(path, errors.New("no PEM block"))
			}
			return
		}
		if block.Type == "CERTIFICATE" {
			s.add(path, block.Bytes)
		}
	}
}

func (s *rootSet) add(path string, der []byte) {
	c, err := x509.ParseCertificate(der)
	switch {
	case err != nil:
		s.problem(path, err)
	case !c.IsCA:
		s.problem(path, fmt.Errorf("%q is not a CA's certificate", clip(c.Subject.String())))
	case selfSigned(c):
		s.roots.AddCert(c)
		s.names = append(s.names, c.Subject.String())
	default:
		s.between.AddCert(c)
	}
}
