package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// readFile reads a file of at most limit bytes, or stdin if name is "-". Kernel files report a size of 0, so it is the
// read that is bounded.
func (a *app) readFile(name string, limit int) ([]byte, error) {
	in := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("%w: run as a user who may read it", err)
		case err != nil:
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shownName(name), err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes, the most that is read", shownName(name), limit)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%s: empty; is it the file that was meant?", shownName(name))
	}
	return b, nil
}

// shownName returns how messages call a file or key.
func shownName(name string) string {
	if name == "-" {
		return "standard input"
	}
	if strings.HasPrefix(name, tokenScheme) {
		name, _, _ = strings.Cut(name, "?") // there may be a PIN in what follows
	}
	return name
}
