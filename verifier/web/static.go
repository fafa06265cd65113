package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// assets are the files that pages refer to. Each has the digest of its content in its address, so that browsers keep it
// for good and never mix two versions.
type assets struct {
	address map[string]string // by name, such as app.css: /static/0123456789abcdef/app.css
	content map[string][]byte // by address
}

func loadAssets() (*assets, error) {
	a := &assets{address: map[string]string{}, content: map[string][]byte{}}
	err := fs.WalkDir(staticFiles, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := staticFiles.ReadFile(name)
		if err != nil {
			return err
		}
		digest := sha256.Sum256(b)
		short := strings.TrimPrefix(name, "static/")
		address := "/static/" + hex.EncodeToString(digest[:8]) + "/" + short
		a.address[short], a.content[address] = address, b
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("web: files of the pages: %w", err)
	}
	return a, nil
}

// of returns a file's address. Templates name files that exist: a test renders every page.
func (a *assets) of(name string) (string, error) {
	at, ok := a.address[name]
	if !ok {
		return "", fmt.Errorf("no file %s", name)
	}
	return at, nil
}

// ServeHTTP answers with a file, whoever asks: there is nothing secret in them.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, ok := a.content[r.URL.Path]
	if !ok {
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	kind := mime.TypeByExtension(path.Ext(r.URL.Path))
	if kind == "" {
		kind = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(b) // the browser is gone: nobody to tell
}
