package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// saveCapture writes captured bytes to a file: as a whole and with the digest that the device signed, or not at all.
func (a *app) saveCapture(ctx context.Context, c *client, one v1.Capture, name string, force bool) error {
	shown := a.meter()
	defer shown.end()
	return writeWhole(name, force, func(w io.Writer) error { // firmware may hold secrets
		sum := sha256.New()
		for at := uint64(0); at < uint64(one.Size); {
			shown.at("fetching", at, uint64(one.Size))
			b, err := c.raw(ctx, one, at)
			if err != nil {
				return err
			}
			sum.Write(b)
			if _, err := w.Write(b); err != nil {
				return err
			}
			at += uint64(len(b))
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != one.Digest {
			return fmt.Errorf("what the verifier sent has the digest %s, the device signed %s", got, one.Digest)
		}
		return nil
	})
}

// raw returns captured bytes from an offset on, at least one.
func (c *client) raw(ctx context.Context, one v1.Capture, at uint64) ([]byte, error) {
	path := devicePath(one.Device, "captures", strconv.FormatInt(one.ID, 10), "raw")
	query := url.Values{"offset": {strconv.FormatUint(at, 10)}}
	res, err := c.send(ctx, request{method: http.MethodGet, path: path, query: query, accept: "*/*", timeout: requestTimeout})
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	left := uint64(one.Size) - at
	b, err := io.ReadAll(io.LimitReader(res.Body, int64(min(left, maxAnswer))+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the verifier's answer: %w", err)
	case len(b) == 0 || uint64(len(b)) > left:
		return nil, fmt.Errorf("the verifier's answer is not what this version of probity understands: %d bytes at %d of %d", len(b), at, one.Size)
	}
	return b, nil
}
