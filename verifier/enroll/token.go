package enroll

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/proto"
	"github.com/probity-attest/probity/verifier/store"
)

// TokenKind is the prefix of a token, which keeps one kind from serving as the other and lets scanners find leaked
// ones.
type TokenKind string

// Kinds of tokens.
const (
	DeviceToken   TokenKind = "pbt1" // lets devices ask for enrolment
	OperatorToken TokenKind = "pbo1" // an operator's or program's, for the API
)

// Sizes of a token's parts in bytes: the public id is hexadecimal, the secret base64url.
const (
	tokenIDSize     = 8
	tokenSecretSize = 32
)

// ErrToken is returned for what is not a token.
var ErrToken = errors.New("not a token")

// ParsedToken is a token's parts. Only the hash of its secret is stored.
type ParsedToken struct {
	Kind   TokenKind
	Tenant string
	ID     string // public, key in the store
	Hash   []byte // SHA-256 of the secret part
}

// Matches reports in constant time whether the stored token is this one: same tenant, kind and secret.
func (p ParsedToken) Matches(t store.Token) bool {
	same := subtle.ConstantTimeCompare(p.Hash, t.Hash) == 1
	return same && t.ID == p.ID && t.Tenant == p.Tenant && t.Operator == (p.Kind == OperatorToken)
}

// NewToken makes a token "KIND.TENANT.ID.SECRET" and what of it is stored: ID, Tenant, Hash and Operator are set, the
// caller adds Uses, Created and Expires. The secret has 256 bits and is shown to a person once.
func NewToken(kind TokenKind, tenant string) (string, store.Token, error) {
	if kind != DeviceToken && kind != OperatorToken {
		return "", store.Token{}, fmt.Errorf("make token: unknown kind %q", clip(string(kind)))
	}
	if !proto.ValidTenant(tenant) {
		return "", store.Token{}, fmt.Errorf("make token: not a tenant: %q", clip(tenant))
	}
	b := make([]byte, tokenIDSize+tokenSecretSize)
	if _, err := rand.Read(b); err != nil {
		return "", store.Token{}, fmt.Errorf("make token: %w", err)
	}
	id := hex.EncodeToString(b[:tokenIDSize])
	secret := base64.RawURLEncoding.EncodeToString(b[tokenIDSize:])
	hash := sha256.Sum256([]byte(secret))
	text := strings.Join([]string{string(kind), tenant, id, secret}, ".")
	return text, store.Token{ID: id, Tenant: tenant, Hash: hash[:], Operator: kind == OperatorToken}, nil
}

// ParseToken splits a token. Errors wrap ErrToken and never repeat the text, which may be a secret.
func ParseToken(text string) (ParsedToken, error) {
	if len(text) > maxToken {
		return ParsedToken{}, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrToken, len(text), maxToken)
	}
	f := strings.Split(text, ".")
	if len(f) != 4 {
		return ParsedToken{}, fmt.Errorf("%w: want KIND.TENANT.ID.SECRET, got %d parts", ErrToken, len(f))
	}
	p := ParsedToken{Kind: TokenKind(f[0]), Tenant: f[1], ID: f[2]}
	id, idErr := hex.DecodeString(f[2])
	secret, secretErr := base64.RawURLEncoding.Strict().DecodeString(f[3])
	switch {
	case p.Kind != DeviceToken && p.Kind != OperatorToken:
		return ParsedToken{}, fmt.Errorf("%w: unknown kind", ErrToken)
	case !proto.ValidTenant(p.Tenant):
		return ParsedToken{}, fmt.Errorf("%w: it names no tenant", ErrToken)
	case idErr != nil || len(id) != tokenIDSize || f[2] != hex.EncodeToString(id):
		return ParsedToken{}, fmt.Errorf("%w: its id is not %d hexadecimal digits", ErrToken, 2*tokenIDSize)
	case secretErr != nil || len(secret) != tokenSecretSize:
		return ParsedToken{}, fmt.Errorf("%w: its secret is incomplete", ErrToken)
	}
	hash := sha256.Sum256([]byte(f[3]))
	p.Hash = hash[:]
	return p, nil
}

const askForToken = "ask the operator for one: probity token create"

var (
	errTokenUsed = deny(CodeTokenUsed, 0,
		"this token has let in as many devices as it may; ask the operator for another: probity token create")
	errTokenExpired = deny(CodeTokenExpired, 0,
		"this token has expired or was revoked; ask the operator for another: probity token create")
	// errTokenUnknown is the same for a wrong id, a wrong secret and another tenant's token.
	errTokenUnknown = deny(CodeTokenUnknown, 0, "this token is not valid here; "+askForToken)
)

// checkToken returns the id of a token that would let device in now. It counts nothing.
func (e *Enroller) checkToken(ctx context.Context, tenant, device, text string, now time.Time) (string, error) {
	if text == "" {
		return "", deny(CodeTokenMissing, 0, "the verifier does not know this device and it sent no token; "+askForToken)
	}
	p, err := ParseToken(text)
	if err != nil || p.Kind != DeviceToken || p.Tenant != tenant {
		return "", errTokenUnknown
	}
	t, err := e.config.Store.Token(ctx, p.ID)
	if errors.Is(err, store.ErrNotFound) {
		return "", errTokenUnknown
	}
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	switch {
	case !p.Matches(t):
		return "", errTokenUnknown
	case t.Revoked, !now.Before(t.Expires):
		return "", errTokenExpired
	case t.Uses <= 0 && !slices.Contains(t.Devices, device):
		return "", errTokenUsed
	}
	return p.ID, nil
}

// useToken counts device against the token: the store decides between devices that come at the same time.
func (e *Enroller) useToken(ctx context.Context, id, device string, now time.Time) error {
	err := e.config.Store.UseToken(ctx, id, device, now)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrUsed):
		return errTokenUsed
	case errors.Is(err, store.ErrExpired):
		return errTokenExpired
	case errors.Is(err, store.ErrNotFound):
		return errTokenUnknown
	}
	return fmt.Errorf("use token: %w", err)
}
