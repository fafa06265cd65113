package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Cost is what it takes to compute a password's hash with argon2id (RFC 9106).
type Cost struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// Sizes of a hash's parts in bytes (RFC 9106, section 4).
const (
	saltSize = 16
	hashSize = 32
)

func (c Cost) check() error {
	if c.Memory < 8*uint32(c.Threads) || c.Time < 1 || c.Threads < 1 {
		return fmt.Errorf("cost of a hash: want a pass, a thread and 8 KiB of memory for each thread, got %+v", c)
	}
	if c.Memory > maxCost.Memory || c.Time > maxCost.Time || c.Threads > maxCost.Threads {
		return fmt.Errorf("cost of a hash: want at most %+v, got %+v", maxCost, c)
	}
	return nil
}

// hash returns a password's hash as a PHC string (P-H-C/phc-string-format): $argon2id$v=19$m=M,t=T,p=P$SALT$HASH.
func (c Cost) hash(password []byte) string {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	key := argon2.IDKey(password, salt, c.Time, c.Memory, c.Threads, hashSize)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.Memory, c.Time, c.Threads, b64(salt), b64(key))
}

// errHash is of what is stored and no hash of ours.
var errHash = errors.New("stored hash of a password is damaged")

// parsePHC returns a hash's parts.
func parsePHC(s string) (c Cost, salt, key []byte, err error) {
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return Cost{}, nil, nil, errHash
	}
	if _, err := fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &c.Memory, &c.Time, &c.Threads); err != nil ||
		f[3] != fmt.Sprintf("m=%d,t=%d,p=%d", c.Memory, c.Time, c.Threads) || c.check() != nil {
		return Cost{}, nil, nil, errHash
	}
	salt, saltErr := base64.RawStdEncoding.Strict().DecodeString(f[4])
	key, keyErr := base64.RawStdEncoding.Strict().DecodeString(f[5])
	if saltErr != nil || keyErr != nil || len(salt) != saltSize || len(key) != hashSize {
		return Cost{}, nil, nil, errHash
	}
	return c, salt, key, nil
}

// matches reports whether a password is the one of a stored hash, and whether that was made at another cost than today's.
func (a *Access) matches(ctx context.Context, stored, password string) (same, old bool, err error) {
	c, salt, want, err := parsePHC(stored)
	if err != nil {
		return false, false, err
	}
	var got []byte
	if err := a.slowly(ctx, func() {
		got = argon2.IDKey([]byte(password), salt, c.Time, c.Memory, c.Threads, hashSize)
	}); err != nil {
		return false, false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, c != a.Hash, nil
}

// hashOf returns a new hash of a password that fits the account's name.
func (a *Access) hashOf(ctx context.Context, name, password string) (hash string, err error) {
	if err := checkPassword(name, password); err != nil {
		return "", err
	}
	err = a.slowly(ctx, func() { hash = a.Hash.hash([]byte(password)) })
	return hash, err
}

// slowly runs f when there is a processor for it: a hash takes memory, and many at once would take all.
func (a *Access) slowly(ctx context.Context, f func()) error {
	select {
	case a.hashing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-a.hashing }()
	f()
	return nil
}

// checkPassword refuses passwords that are guessed first. Length is what counts (NIST SP 800-63B-4, section 3.1.1.2).
func checkPassword(name, password string) error {
	const field = "password"
	distinct := map[rune]bool{}
	for _, r := range password {
		distinct[r] = true
	}
	switch {
	case !utf8.ValidString(password):
		return invalid(field, "want UTF-8")
	case utf8.RuneCountInString(password) < minPassword:
		return invalid(field, "want at least %d characters; several words are easy to keep in mind", minPassword)
	case len(password) > maxPassword:
		return invalid(field, "want at most %d bytes", maxPassword)
	case len(distinct) < distinctOnes:
		return invalid(field, "want at least %d different characters", distinctOnes)
	case name != "" && strings.Contains(strings.ToLower(password), strings.ToLower(name)) && len(password)-len(name) < minPassword:
		return invalid(field, "it is little more than the account's name")
	}
	return nil
}
