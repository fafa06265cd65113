package challenge_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/challenge"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func keys(t *testing.T, seed byte) *challenge.Keys {
	t.Helper()
	k, err := challenge.New(bytes.Repeat([]byte{seed}, challenge.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestUnique: a million nonces, asked for at the same instant by many at once, are all different.
func TestUnique(t *testing.T) {
	const workers, each = 8, 125_000
	k := keys(t, 1)
	seen := make([]map[[proto.NonceSize]byte]bool, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			seen[w] = make(map[[proto.NonceSize]byte]bool, each)
			for range each {
				seen[w][[proto.NonceSize]byte(k.Issue(challenge.Evidence, "t", "d", start))] = true
			}
		})
	}
	wg.Wait()
	all := make(map[[proto.NonceSize]byte]bool, workers*each)
	for _, s := range seen {
		for n := range s {
			all[n] = true
		}
	}
	if len(all) != workers*each {
		t.Errorf("%d different nonces of %d", len(all), workers*each)
	}
}

func TestCheck(t *testing.T) {
	k := keys(t, 1)
	nonce := k.Issue(challenge.Evidence, "acme", "device", start)
	flip := func(i int) []byte {
		out := bytes.Clone(nonce)
		out[i] ^= 1
		return out
	}
	tests := []struct {
		name           string
		keys           *challenge.Keys
		purpose        challenge.Purpose
		tenant, device string
		nonce          []byte
		after          time.Duration
		want           error
	}{
		{"good", k, challenge.Evidence, "acme", "device", nonce, time.Second, nil},
		{"another replica with the same key", keys(t, 1), challenge.Evidence, "acme", "device", nonce, time.Second, nil},
		{"at the end of its life", k, challenge.Evidence, "acme", "device", nonce, time.Minute, nil},
		{"expired", k, challenge.Evidence, "acme", "device", nonce, time.Minute + 1, challenge.ErrExpired},
		{"from the future", keys(t, 1), challenge.Evidence, "acme", "device", nonce, -time.Minute, challenge.ErrForeign},
		{"own clock set back", k, challenge.Evidence, "acme", "device", nonce, -time.Hour, nil},
		{"clock of a replica a little behind", keys(t, 1), challenge.Evidence, "acme", "device", nonce, -time.Second, nil},
		{"another device", k, challenge.Evidence, "acme", "other", nonce, time.Second, challenge.ErrForeign},
		{"another tenant", k, challenge.Evidence, "emca", "device", nonce, time.Second, challenge.ErrForeign},
		{"names that run together", k, challenge.Evidence, "acmed", "evice", nonce, time.Second, challenge.ErrForeign},
		{"another purpose", k, challenge.Enrolment, "acme", "device", nonce, time.Second, challenge.ErrForeign},
		{"another key", keys(t, 2), challenge.Evidence, "acme", "device", nonce, time.Second, challenge.ErrForeign},
		{"issue time changed", k, challenge.Evidence, "acme", "device", flip(7), time.Second, challenge.ErrForeign},
		{"MAC changed", k, challenge.Evidence, "acme", "device", flip(31), time.Second, challenge.ErrForeign},
		{"empty", k, challenge.Evidence, "acme", "device", nil, time.Second, challenge.ErrForeign},
		{"zeros", k, challenge.Evidence, "acme", "device", make([]byte, 32), time.Second, challenge.ErrForeign},
		{"short", k, challenge.Evidence, "acme", "device", nonce[:31], time.Second, challenge.ErrForeign},
		{"long", k, challenge.Evidence, "acme", "device", append(bytes.Clone(nonce), 0), time.Second, challenge.ErrForeign},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := tt.keys.Check(tt.purpose, tt.tenant, tt.device, tt.nonce, start.Add(tt.after), time.Minute)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Check = %v, want %v", err, tt.want)
			}
			if err == nil && (!bytes.Equal(n.Bytes(), nonce) || !n.IssuedAt().Equal(start)) {
				t.Errorf("nonce %x of %s, want %x of %s", n.Bytes(), n.IssuedAt(), nonce, start)
			}
			if err != nil && n != (challenge.Nonce{}) {
				t.Errorf("nonce = %v beside an error", n)
			}
		})
	}
}

func TestSecretDependsOnEverything(t *testing.T) {
	k := keys(t, 1)
	nonce := k.Issue(challenge.Enrolment, "t", "d", start)
	secret := k.Secret("t", "d", nonce, []byte("hello"))
	for name, other := range map[string][]byte{
		"hello":  k.Secret("t", "d", nonce, []byte("hellp")),
		"nonce":  k.Secret("t", "d", k.Issue(challenge.Enrolment, "t", "d", start), []byte("hello")),
		"device": k.Secret("t", "e", nonce, []byte("hello")),
		"tenant": k.Secret("u", "d", nonce, []byte("hello")),
		"key":    keys(t, 2).Secret("t", "d", nonce, []byte("hello")),
	} {
		if bytes.Equal(other, secret) {
			t.Errorf("the secret does not depend on the %s", name)
		}
	}
	if !bytes.Equal(secret, keys(t, 1).Secret("t", "d", nonce, []byte("hello"))) {
		t.Error("a replica with the same key has another secret")
	}
}

func TestKeySize(t *testing.T) {
	if _, err := challenge.New(make([]byte, 31)); err == nil {
		t.Error("New accepts a key of 31 bytes")
	}
}
