package enroll_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/store"
)

func TestToken(t *testing.T) {
	for _, kind := range []enroll.TokenKind{enroll.DeviceToken, enroll.OperatorToken} {
		text, tok, err := enroll.NewToken(kind, tenant)
		if err != nil {
			t.Fatal(err)
		}
		p, err := enroll.ParseToken(text)
		if err != nil || p.Kind != kind || p.Tenant != tenant || p.ID != tok.ID || !p.Matches(tok) {
			t.Errorf("ParseToken = %+v, %v, want what NewToken made", p, err)
		}
		secret := text[strings.LastIndex(text, ".")+1:]
		if sum := sha256.Sum256([]byte(secret)); !bytes.Equal(sum[:], tok.Hash) || strings.Contains(tok.ID, secret) {
			t.Error("what is stored is not the secret's hash")
		}
		for what, change := range map[string]func(*store.Token){
			"hash": func(t *store.Token) { t.Hash = make([]byte, 32) }, "no hash": func(t *store.Token) { t.Hash = nil },
			"tenant": func(t *store.Token) { t.Tenant = "x" }, "kind": func(t *store.Token) { t.Operator = !t.Operator },
			"id": func(t *store.Token) { t.ID = "x" },
		} {
			other := tok
			change(&other)
			if p.Matches(other) {
				t.Errorf("matches a token with another %s", what)
			}
		}
		again, _, err := enroll.NewToken(kind, tenant)
		if err != nil || again == text {
			t.Errorf("two tokens are the same: %v", err)
		}
	}
	if _, _, err := enroll.NewToken("x", tenant); err == nil {
		t.Error("NewToken of an unknown kind passed")
	}
	if _, _, err := enroll.NewToken(enroll.DeviceToken, "A B"); err == nil {
		t.Error("NewToken for no tenant passed")
	}
}

func FuzzParseToken(f *testing.F) {
	text, _, err := enroll.NewToken(enroll.DeviceToken, tenant)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(strings.ToUpper(text))
	f.Add("pbo1.a.0123456789abcdef.")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := enroll.ParseToken(s)
		if err != nil {
			if !errors.Is(err, enroll.ErrToken) || p.ID != "" || p.Hash != nil {
				t.Fatalf("ParseToken = %+v, %v", p, err)
			}
			if len(s) > 12 && strings.Contains(err.Error(), s) {
				t.Fatalf("error repeats the token: %v", err)
			}
			return
		}
		sum := sha256.Sum256([]byte(s[strings.LastIndex(s, ".")+1:]))
		if !strings.HasPrefix(s, string(p.Kind)+"."+p.Tenant+"."+p.ID+".") || !bytes.Equal(sum[:], p.Hash) {
			t.Fatalf("ParseToken(%q) = %+v", s, p)
		}
	})
}
