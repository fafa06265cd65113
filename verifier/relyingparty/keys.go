package relyingparty

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/probity-attest/probity/verifier/result"
)

// ParseKeys returns the keys in a JSON Web Key Set (RFC 7517, section 5) by key id, as the verifier shows it under
// /v1/keys. Fetch it once over a connection that you trust, and keep it: whoever can change this set can make any
// device trusted. Keys that are not P-256 for signatures (RFC 7518, section 6.2) are an error, as is an id that is not
// the key's own (result.KeyID).
func ParseKeys(set []byte) (map[string]*ecdsa.PublicKey, error) {
	if len(set) > maxKeySet {
		return nil, fmt.Errorf("relying party: key set of more than %d bytes", maxKeySet)
	}
	var claimed struct {
		Keys []struct {
			Type      string `json:"kty"`
			Curve     string `json:"crv"`
			X         string `json:"x"`
			Y         string `json:"y"`
			ID        string `json:"kid"`
			Algorithm string `json:"alg"`
			Use       string `json:"use"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(set, &claimed); err != nil {
		return nil, fmt.Errorf("relying party: key set: %w", err)
	}
	if n := len(claimed.Keys); n == 0 || n > maxKeys {
		return nil, fmt.Errorf("relying party: key set has %d keys, want 1 to %d", n, maxKeys)
	}
	keys := make(map[string]*ecdsa.PublicKey, len(claimed.Keys))
	for i, k := range claimed.Keys {
		if k.Type != "EC" || k.Curve != "P-256" || k.Algorithm != "" && k.Algorithm != "ES256" || k.Use != "" && k.Use != "sig" {
			return nil, fmt.Errorf("relying party: key %d of the set: want a P-256 key for signatures with ES256", i)
		}
		key, err := parsePoint(k.X, k.Y)
		if err != nil {
			return nil, fmt.Errorf("relying party: key %d of the set: %w", i, err)
		}
		id, err := result.KeyID(key)
		if err != nil {
			return nil, fmt.Errorf("relying party: key %d of the set: %w", i, err)
		}
		if k.ID != id || keys[id] != nil {
			return nil, fmt.Errorf("relying party: key %d of the set has the id %.64q, want %s, once", i, k.ID, id)
		}
		keys[id] = key
	}
	return keys, nil
}

// parsePoint returns the key with these coordinates, if they are on the curve.
func parsePoint(x, y string) (*ecdsa.PublicKey, error) {
	point := []byte{4} // uncompressed (SEC 1, section 2.3.3)
	for _, text := range []string{x, y} {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("coordinate: %w", err)
		}
		if len(b) != 32 {
			return nil, errors.New("coordinate: want 32 bytes")
		}
		point = append(point, b...)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}
