package relyingparty_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/probity-attest/probity/verifier/relyingparty"
	"github.com/probity-attest/probity/verifier/result"
)

var (
	now    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	device = strings.Repeat("ab", 32)
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// good returns a result of a trusted device.
func good() result.Result {
	return result.Result{
		Tenant: "acme", Device: device, State: result.Trusted, Level: result.Certified,
		IssuedAt: now.Add(-2 * time.Minute), At: now.Add(-time.Minute), StaleAt: now.Add(time.Hour),
		Submods: map[result.Submod]result.Vector{result.Boot: {Executables: 2}, result.Flash: {}},
	}
}

func sign(t testing.TB, key *ecdsa.PrivateKey, r result.Result) string {
	t.Helper()
	s, err := result.NewSigner(key, "verifier.test", "test")
	if err != nil {
		t.Fatal(err)
	}
	ear, err := s.Sign(r)
	if err != nil {
		t.Fatal(err)
	}
	return ear
}

func keys(t testing.TB, pinned ...*ecdsa.PrivateKey) map[string]*ecdsa.PublicKey {
	t.Helper()
	out := map[string]*ecdsa.PublicKey{}
	for _, key := range pinned {
		id, err := result.KeyID(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		out[id] = &key.PublicKey
	}
	return out
}

func newChecker(t testing.TB, cfg relyingparty.Config) *relyingparty.Checker {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return now }
	}
	c, err := relyingparty.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheck(t *testing.T) {
	key := newKey(t)
	pinned := keys(t, newKey(t), key)
	warned := result.Vector{Executables: 33}
	for name, test := range map[string]struct {
		cfg    relyingparty.Config
		change func(*result.Result)
		want   error
		bare   bool // there is no result with the error
	}{
		"trusted":                   {},
		"of the tenant":             {cfg: relyingparty.Config{Tenant: "acme"}},
		"of another tenant":         {cfg: relyingparty.Config{Tenant: "rival"}, want: relyingparty.ErrDevice},
		"of another device":         {change: func(r *result.Result) { r.Device = strings.Repeat("cd", 32) }, want: relyingparty.ErrDevice},
		"with warnings":             {change: func(r *result.Result) { r.State = result.Warning }, want: relyingparty.ErrTier},
		"with warnings, allowed":    {cfg: relyingparty.Config{Tier: relyingparty.Warning}, change: func(r *result.Result) { r.State = result.Warning }},
		"untrusted":                 {cfg: relyingparty.Config{Tier: relyingparty.Warning}, change: func(r *result.Result) { r.State = result.Untrusted }, want: relyingparty.ErrTier},
		"stale, signed as such":     {cfg: relyingparty.Config{Tier: relyingparty.Warning}, change: func(r *result.Result) { r.State = result.Stale }, want: relyingparty.ErrTier},
		"unsupported":               {change: func(r *result.Result) { r.State = result.Unsupported }, want: relyingparty.ErrTier},
		"no state":                  {change: func(r *result.Result) { r.State = "" }, want: relyingparty.ErrTier},
		"trusted with a bad part":   {change: func(r *result.Result) { r.Submods[result.Boot] = warned }, want: relyingparty.ErrTier},
		"the same, allowed":         {cfg: relyingparty.Config{Tier: relyingparty.Warning}, change: func(r *result.Result) { r.Submods[result.Boot] = warned }},
		"a contraindicated part":    {cfg: relyingparty.Config{Tier: relyingparty.Warning}, change: func(r *result.Result) { r.Submods[result.Boot] = result.Vector{Hardware: 97} }, want: relyingparty.ErrTier},
		"expired":                   {change: func(r *result.Result) { r.StaleAt = now }, want: relyingparty.ErrTooOld, bare: true},
		"of the future":             {change: func(r *result.Result) { r.At = now.Add(2 * time.Minute) }, want: relyingparty.ErrTooOld},
		"of a clock slightly ahead": {change: func(r *result.Result) { r.At = now.Add(30 * time.Second) }},
		"nonce young enough":        {cfg: relyingparty.Config{MaxAge: 2 * time.Minute}},
		"nonce too old":             {cfg: relyingparty.Config{MaxAge: 2*time.Minute - time.Second}, want: relyingparty.ErrTooOld},
		"no nonce":                  {cfg: relyingparty.Config{MaxAge: time.Hour}, change: func(r *result.Result) { r.IssuedAt = time.Time{} }, want: relyingparty.ErrTooOld},
		"software identity":         {change: func(r *result.Result) { r.Level = result.Software }, want: relyingparty.ErrIdentity},
		"first use, not allowed": {
			cfg:    relyingparty.Config{Levels: []result.Level{result.Certified}},
			change: func(r *result.Result) { r.Level = result.FirstUse }, want: relyingparty.ErrIdentity,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			if test.change != nil {
				test.change(&r)
			}
			test.cfg.Keys = pinned
			got, err := newChecker(t, test.cfg).Check(sign(t, key, r), device)
			if !errors.Is(err, test.want) {
				t.Fatalf("Check() = %v, want %v", err, test.want)
			}
			if errors.Is(err, relyingparty.ErrInvalid) {
				t.Errorf("Check() = %v, as if it might be forged", err)
			}
			if (got.Device == "") != test.bare || got.Device != "" && got.Device != r.Device {
				t.Errorf("Check() gives the result of %q with error %v", got.Device, err)
			}
		})
	}
}

// Nothing that another than the verifier could have made may pass.
func TestCheckRefusesForgeries(t *testing.T) {
	key, other := newKey(t), newKey(t)
	c := newChecker(t, relyingparty.Config{Keys: keys(t, key)})
	ear := sign(t, key, good())
	parts := strings.Split(ear, ".")
	forge := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "."
	}
	id, _ := result.KeyID(&key.PublicKey)
	old := good()
	old.StaleAt = now
	expired := strings.Split(sign(t, key, old), ".")
	untrusted := good()
	untrusted.State = result.Untrusted
	symmetric := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": device, "exp": now.Add(time.Hour).Unix()})
	symmetric.Header["kid"] = id
	mac, err := symmetric.SignedString([]byte("public"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":             "",
		"not a token":       "trusted",
		"key not pinned":    sign(t, other, good()),
		"no key id":         forge(`{"alg":"ES256"}`) + parts[2],
		"no algorithm":      forge(`{"alg":"none","kid":"` + id + `"}`),
		"symmetric":         mac,
		"without signature": parts[0] + "." + parts[1] + ".",
		"another's content": parts[0] + "." + strings.Split(sign(t, other, untrusted), ".")[1] + "." + parts[2],
		"expired, unsigned": expired[0] + "." + expired[1] + "." + parts[2],
		"four parts":        ear + ".x",
		"giant":             ear + strings.Repeat("A", 5<<20),
		"giant header":      strings.Repeat("A", 2000) + "." + parts[1] + "." + parts[2],
		"header not base64": "!." + parts[1] + "." + parts[2],
		"header not a JSON": base64.RawURLEncoding.EncodeToString([]byte("x")) + "." + parts[1] + "." + parts[2],
		"right id, other key": func() string {
			s := strings.Split(sign(t, other, good()), ".")
			return parts[0] + "." + s[1] + "." + s[2]
		}(),
	} {
		if r, err := c.Check(text, device); !errors.Is(err, relyingparty.ErrInvalid) || r.State != "" {
			t.Errorf("%s: Check() = %+v, %v, want ErrInvalid", name, r.State, err)
		}
	}
	// Any flipped bit.
	for i := range ear {
		b := []byte(ear)
		b[i] ^= 1
		if i == len(ear)-1 {
			continue // the last character's lowest bits are padding
		}
		if _, err := c.Check(string(b), device); err == nil {
			t.Fatalf("a result with character %d changed passes", i)
		}
	}
	if _, err := c.Check(ear, ""); !errors.Is(err, relyingparty.ErrDevice) {
		t.Errorf("Check() of no device = %v, want ErrDevice", err)
	}
}

func keySet(t testing.TB, change func(map[string]any), all ...*ecdsa.PrivateKey) []byte {
	t.Helper()
	var list []map[string]any
	for _, key := range all {
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := result.KeyID(&key.PublicKey)
		k := map[string]any{
			"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id,
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
		}
		if change != nil {
			change(k)
		}
		list = append(list, k)
	}
	b, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseKeys(t *testing.T) {
	a, b := newKey(t), newKey(t)
	got, err := relyingparty.ParseKeys(keySet(t, nil, a, b))
	if err != nil || len(got) != 2 {
		t.Fatalf("ParseKeys() = %d keys, %v, want 2", len(got), err)
	}
	if _, err := newChecker(t, relyingparty.Config{Keys: got}).Check(sign(t, b, good()), device); err != nil {
		t.Errorf("Check() with parsed keys = %v", err)
	}
	set := func(name string, v any) func(map[string]any) {
		return func(k map[string]any) { k[name] = v }
	}
	for name, bad := range map[string][]byte{
		"nothing":         nil,
		"no keys":         []byte(`{"keys":[]}`),
		"not JSON":        []byte(`<html>`),
		"giant":           append(keySet(t, nil, a), make([]byte, 70<<10)...),
		"RSA":             keySet(t, set("kty", "RSA"), a),
		"other curve":     keySet(t, set("crv", "P-384"), a),
		"other algorithm": keySet(t, set("alg", "HS256"), a),
		"for encryption":  keySet(t, set("use", "enc"), a),
		"other id":        keySet(t, set("kid", "0011223344556677"), a),
		"no id":           keySet(t, set("kid", ""), a),
		"short x":         keySet(t, set("x", "AAAA"), a),
		"bad x":           keySet(t, set("x", "*"), a),
		"off the curve":   keySet(t, set("x", base64.RawURLEncoding.EncodeToString(make([]byte, 32))), a),
		"twice":           keySet(t, nil, a, a),
		"too many":        keySet(t, nil, many(t, 33)...),
	} {
		if got, err := relyingparty.ParseKeys(bad); err == nil || got != nil {
			t.Errorf("%s: ParseKeys() = %d keys, %v, want an error", name, len(got), err)
		}
	}
}

func many(t testing.TB, n int) []*ecdsa.PrivateKey {
	out := make([]*ecdsa.PrivateKey, n)
	for i := range out {
		out[i] = newKey(t)
	}
	return out
}

func TestNewRefuses(t *testing.T) {
	key := newKey(t)
	for name, cfg := range map[string]relyingparty.Config{
		"no keys":      {},
		"nil key":      {Keys: map[string]*ecdsa.PublicKey{"x": nil}},
		"wrong id":     {Keys: map[string]*ecdsa.PublicKey{"x": &key.PublicKey}},
		"unknown tier": {Keys: keys(t, key), Tier: "any"},
		"negative age": {Keys: keys(t, key), MaxAge: -1},
	} {
		if _, err := relyingparty.New(cfg); err == nil {
			t.Errorf("%s: New() = nil error", name)
		}
	}
}
