package access

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/probity-attest/probity/verifier/store"
	"github.com/probity-attest/probity/verifier/store/sqlite"
)

// cheap is a cost at which tests are fast.
var cheap = Cost{Memory: 8, Time: 1, Threads: 1}

// world is access on a store of its own, with a clock that stands still.
type world struct {
	*Access
	store store.Store
	now   time.Time
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "probity.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{store: s, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	c := Config{
		Store: s, Tenant: "acme", Setup: "ABCDE-FGH23", Hash: cheap, Now: func() time.Time { return w.now },
		Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	if w.Access, err = New(c); err != nil {
		t.Fatal(err)
	}
	return w
}

const (
	password = "correct horse battery"
	remote   = "192.0.2.1:4711"
)

func (w *world) add(t *testing.T, s Spec) store.Account {
	t.Helper()
	if s.Role == "" {
		s.Role = "admin"
	}
	a, err := w.Add(t.Context(), s, "test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	w.add(t, Spec{Name: "Alice", Password: password})
	w.add(t, Spec{Name: "oidc-only", Subject: "oidc@example.com"})
	off := true
	w.add(t, Spec{Name: "off", Password: password})
	if _, err := w.Change(t.Context(), "off", Change{Disabled: &off}, "test"); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		name, password string
		in             bool
	}{
		"right":             {"Alice", password, true},
		"other case":        {"alice", password, true},
		"wrong password":    {"Alice", password + "!", false},
		"password in case":  {"Alice", strings.ToUpper(password), false},
		"no password":       {"Alice", "", false},
		"nobody":            {"eve", password, false},
		"no name":           {"", password, false},
		"disabled":          {"off", password, false},
		"without password":  {"oidc-only", "", false},
		"endless password":  {"Alice", strings.Repeat("x", 1<<20), false},
		"endless name":      {strings.Repeat("x", 1<<20), password, false},
		"injection":         {"' OR 1=1 --", password, false},
		"hash as password":  {"Alice", w.nobody, false},
		"name with a space": {"Alice ", password, false},
	} {
		a, err := w.SignIn(t.Context(), tt.name, tt.password, remote)
		if tt.in != (err == nil) || !tt.in && !errors.Is(err, ErrRefused) || tt.in && (a.Name != "Alice" || !a.LastSignIn.Equal(w.now)) {
			t.Errorf("%s: SignIn() = %+v, %v; want that it succeeds: %t", name, a, err, tt.in)
		}
		w.now = w.now.Add(time.Hour) // attempts are TestAttempts'
	}
}

// TestAttempts: guessing is slow, from one address and for one name, and who succeeds is not slowed down by itself.
func TestAttempts(t *testing.T) {
	w := newWorld(t)
	w.add(t, Spec{Name: "alice", Password: password})
	try := func(name, password, from string) error {
		_, err := w.SignIn(t.Context(), name, password, from)
		return err
	}
	for range 3 * addressBurst {
		if err := try("alice", password, remote); err != nil {
			t.Fatalf("a good sign-in among many = %v", err)
		}
	}
	for range addressBurst {
		if err := try("bob", "wrong", remote); !errors.Is(err, ErrRefused) {
			t.Fatalf("SignIn() = %v, want ErrRefused", err)
		}
	}
	var throttled *Throttled
	if err := try("alice", password, "192.0.2.1:1"); !errors.As(err, &throttled) || throttled.After <= 0 || throttled.After > addressEvery {
		t.Errorf("after %d failures from an address: %v, want a wait of up to %s", addressBurst, err, addressEvery)
	}
	if err := try("alice", password, "192.0.2.2:1"); err != nil {
		t.Errorf("from another address: %v, want that it succeeds", err)
	}
	w.now = w.now.Add(addressEvery)
	if err := try("alice", password, remote); err != nil {
		t.Errorf("after %s: %v, want that it succeeds", addressEvery, err)
	}
	for i := range nameBurst {
		if err := try("Victim", "wrong", fmt.Sprintf("203.0.113.%d:1", i)); !errors.Is(err, ErrRefused) {
			t.Fatalf("SignIn() = %v, want ErrRefused", err)
		}
	}
	if err := try("victim", "wrong", "198.51.100.7:1"); !errors.As(err, &throttled) {
		t.Errorf("after %d failures for a name from many addresses: %v, want a wait", nameBurst, err)
	}
}

// TestHash (ATTACKS row 17): nobody's password costs as much as somebody's, and an old cost is renewed.
func TestHash(t *testing.T) {
	w := newWorld(t)
	if c, _, _, err := parsePHC(w.nobody); err != nil || c != w.Hash {
		t.Errorf("the hash for unknown names has cost %+v, %v; want that of accounts, %+v", c, err, w.Hash)
	}
	a := w.add(t, Spec{Name: "alice", Password: password})
	if !strings.HasPrefix(a.Password, "$argon2id$v=19$m=8,t=1,p=1$") || strings.Contains(a.Password, password) {
		t.Errorf("stored password = %q", a.Password)
	}
	w.Hash.Time = 2
	if _, err := w.SignIn(t.Context(), "alice", password, remote); err != nil {
		t.Fatal(err)
	}
	b, err := w.store.Account(t.Context(), "acme", "alice")
	if err != nil || !strings.HasPrefix(b.Password, "$argon2id$v=19$m=8,t=2,p=1$") || b.Epoch != a.Epoch {
		t.Errorf("password after a sign-in at another cost = %q, epoch %d, %v; want it renewed, sessions kept", b.Password, b.Epoch, err)
	}
	good := cheap.hash([]byte("x"))
	for _, s := range []string{
		"", "x", strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "v=19", "v=16", 1), good + "$", good + "A",
		strings.Replace(good, "m=8", "m=4294967295", 1), strings.Replace(good, "m=8", "m=08", 1), strings.Replace(good, "t=1", "t=0", 1),
		strings.Replace(good, "p=1", "p=0", 1), good[:len(good)-2],
	} {
		if _, _, _, err := parsePHC(s); !errors.Is(err, errHash) {
			t.Errorf("parsePHC(%q) = %v, want errHash", s, err)
		}
	}
	if _, err := New(Config{Store: w.store, Tenant: "acme", Hash: Cost{Memory: 1, Time: 1, Threads: 1}}); err == nil {
		t.Error("New accepts a cost that argon2 does not")
	}
}

func TestCheckPassword(t *testing.T) {
	for p, ok := range map[string]bool{
		password: true, "twelve chars": true, "zwölf Zeichn": true, "eleven char": false, "": false, strings.Repeat("a", 40): false,
		"abababababab": false, "alice-alice1": false, "Alice-1234567": false, "alice likes long passwords": true,
		strings.Repeat("abcdef", 200): false, "bad utf-8 \xff\xff\xff": false,
	} {
		err := checkPassword("alice", p)
		var bad *Invalid
		if ok != (err == nil) || err != nil && (!errors.As(err, &bad) || bad.Field != "password" || strings.Contains(err.Error(), p) && p != "") {
			t.Errorf("checkPassword(%q) = %v, want that it passes: %t", p, err, ok)
		}
	}
}

func TestSetUp(t *testing.T) {
	w := newWorld(t)
	try := func(code, name, password string) error {
		_, err := w.SetUp(t.Context(), code, name, password, remote)
		return err
	}
	if open, err := w.Open(t.Context()); err != nil || !open {
		t.Errorf("Open() = %t, %v, want that it is", open, err)
	}
	for _, code := range []string{"", "x", "ABCDE-FGH24", "ABCDE-FGH2", "ABCDE-FGH233"} {
		if err := try(code, "alice", password); !errors.Is(err, ErrRefused) {
			t.Errorf("SetUp(%q) = %v, want ErrRefused", code, err)
		}
	}
	var bad *Invalid
	if err := try("ABCDE-FGH23", "alice", "short"); !errors.As(err, &bad) {
		t.Errorf("SetUp with a short password = %v, want *Invalid", err)
	}
	a, err := w.SetUp(t.Context(), " abcde fgh23", "alice", password, remote)
	if err != nil || a.Name != "alice" || a.Role != store.RoleAdmin {
		t.Fatalf("SetUp() = %+v, %v, want an admin", a, err)
	}
	if err := try("ABCDE-FGH23", "bob", password); !errors.Is(err, ErrSetupOver) {
		t.Errorf("SetUp again = %v, want ErrSetupOver", err)
	}
	if open, err := w.Open(t.Context()); err != nil || open {
		t.Errorf("Open() after it = %t, %v, want that it is not", open, err)
	}
	without := newWorld(t, func(c *Config) { c.Setup = "" })
	if _, err := without.SetUp(t.Context(), "", "alice", password, remote); !errors.Is(err, ErrSetupOver) {
		t.Errorf("SetUp without a code = %v, want ErrSetupOver", err)
	}
	var throttled *Throttled
	slow := newWorld(t)
	for range addressBurst {
		_, _ = slow.SetUp(t.Context(), "guess", "alice", password, remote)
	}
	if _, err := slow.SetUp(t.Context(), "ABCDE-FGH23", "alice", password, remote); !errors.As(err, &throttled) {
		t.Errorf("SetUp after %d guesses = %v, want a wait", addressBurst, err)
	}
	one, two := NewSetupCode(), NewSetupCode()
	if len(one) != 23 || one == two || codeDigest(one) == codeDigest(two) || codeDigest(one) != codeDigest(strings.ToLower(one)) {
		t.Errorf("codes = %q, %q", one, two)
	}
}

// request returns one that has the cookie of a new session.
func (w *world) request(t *testing.T, a *store.Account) *http.Request {
	t.Helper()
	c, err := w.Begin(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || c.Name != "__Host-probity" {
		t.Errorf("cookie = %+v", c)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(c)
	return r
}

func TestSession(t *testing.T) {
	w := newWorld(t)
	a := w.add(t, Spec{Name: "alice", Password: password})
	w.add(t, Spec{Name: "root", Password: password})
	is := func(r *http.Request, want bool, when string) {
		t.Helper()
		got, expires, err := w.Session(r)
		if want != (err == nil) || err != nil && !errors.Is(err, ErrRefused) || want && (got.Name != "alice" || !expires.After(w.now)) {
			t.Errorf("%s: Session() = %q, %v, %v; want that it is one: %t", when, got.Name, expires, err, want)
		}
	}
	begin := w.now
	r := w.request(t, &a)
	for range 11 { // used every hour
		is(r, true, "used")
		w.now = w.now.Add(time.Hour)
	}
	w.now = begin.Add(12 * time.Hour)
	is(r, false, "after its lifetime")

	r = w.request(t, &a)
	w.now = w.now.Add(2*time.Hour - time.Second)
	is(r, true, "nearly idle")
	w.now = w.now.Add(2 * time.Hour)
	is(r, false, "idle")

	for name, change := range map[string]func(*Change){
		"role":     func(c *Change) { s := "viewer"; c.Role = &s },
		"password": func(c *Change) { s := password + "!"; c.Password = &s },
		"subject":  func(c *Change) { s := "alice@example.com"; c.Subject = &s },
		"disabled": func(c *Change) { b := true; c.Disabled = &b },
	} {
		a, err := w.store.Account(t.Context(), "acme", "alice")
		if err != nil {
			t.Fatal(err)
		}
		r := w.request(t, &a)
		is(r, true, "before the change of "+name)
		var c Change
		change(&c)
		if _, err := w.Change(t.Context(), "alice", c, "root"); err != nil {
			t.Fatal(err)
		}
		is(r, false, "after the change of "+name)
		if name == "disabled" {
			on := false
			if _, err := w.Change(t.Context(), "alice", Change{Disabled: &on}, "root"); err != nil {
				t.Fatal(err)
			}
			is(r, false, "after it was enabled again")
		}
	}
	a, _ = w.store.Account(t.Context(), "acme", "alice")
	r, other := w.request(t, &a), w.request(t, &a)
	if err := w.End(r); err != nil {
		t.Fatal(err)
	}
	is(r, false, "after its end")
	is(other, true, "after the end of another")
	if c := Forget(); c.MaxAge >= 0 || c.Value != "" || c.Name != Cookie {
		t.Errorf("Forget() = %+v", c)
	}
	if err := w.Remove(t.Context(), "alice", "root"); err != nil {
		t.Fatal(err)
	}
	is(other, false, "of a removed account")
	w.now = w.now.Add(time.Second)
	w.add(t, Spec{Name: "alice", Password: password})
	is(other, false, "of a removed account of which another has the name")
}

func TestChangePassword(t *testing.T) {
	w := newWorld(t)
	w.add(t, Spec{Name: "alice", Password: password})
	const next = "another long password"
	if _, err := w.ChangePassword(t.Context(), "alice", "wrong", next, remote); !errors.Is(err, ErrRefused) {
		t.Errorf("ChangePassword with a wrong old one = %v, want ErrRefused", err)
	}
	var bad *Invalid
	for _, to := range []string{"short", password} {
		if _, err := w.ChangePassword(t.Context(), "alice", password, to, remote); !errors.As(err, &bad) {
			t.Errorf("ChangePassword(%q) = %v, want *Invalid", to, err)
		}
	}
	if _, err := w.ChangePassword(t.Context(), "alice", password, next, remote); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SignIn(t.Context(), "alice", password, remote); !errors.Is(err, ErrRefused) {
		t.Errorf("SignIn with the old one = %v, want ErrRefused", err)
	}
	if _, err := w.SignIn(t.Context(), "alice", next, remote); err != nil {
		t.Errorf("SignIn with the new one = %v", err)
	}
}

func TestAccountRules(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("a", 65)
	for name, s := range map[string]Spec{
		"name":         {Name: ""},
		"name ":        {Name: long},
		"name  ":       {Name: "operator:ab"},
		"name   ":      {Name: "Verifier"},
		"name    ":     {Name: strings.Repeat("ab", 32)},
		"name     ":    {Name: "a/b"},
		"name      ":   {Name: "-a"},
		"name       ":  {Name: "a\u202eb"},
		"role":         {Name: "a", Role: "root"},
		"vendors":      {Name: "a", Role: "vendor"},
		"vendors ":     {Name: "a", Role: "admin", Vendors: []string{"Acme"}},
		"vendors  ":    {Name: "a", Role: "vendor", Vendors: []string{" "}},
		"vendors   ":   {Name: "a", Role: "vendor", Vendors: make([]string, 65)},
		"subject":      {Name: "a", Subject: "no address"},
		"subject ":     {Name: "a", Subject: "http://idp.example#7"},
		"subject  ":    {Name: "a", Subject: "https://idp.example#"},
		"subject   ":   {Name: "a", Subject: "Alice <a@example.com>"},
		"certificates": {Name: "a", Certificates: []string{"ab"}},
		"password":     {Name: "a", Password: "short"},
	} {
		if s.Role == "" {
			s.Role = "viewer"
		}
		_, err := w.Add(t.Context(), s, "test")
		var bad *Invalid
		if !errors.As(err, &bad) || bad.Field != strings.TrimSpace(name) {
			t.Errorf("Add(%+v) = %v, want that %s is invalid", s, err, strings.TrimSpace(name))
		}
	}
	a := w.add(t, Spec{
		Name: "a.b_c-d+e@example.com", Role: "vendor", Vendors: []string{"Acme*"}, Subject: "A@Example.com",
		Certificates: []string{"sha256:" + strings.ToUpper(strings.Repeat("ab", 32)), strings.Repeat("ab", 32)},
	})
	if a.Subject != "a@example.com" || len(a.Certificates) != 1 || a.Certificates[0] != strings.Repeat("ab", 32) || a.Password != "" {
		t.Errorf("account = %+v", a)
	}
	viewer := "viewer"
	a, err := w.Change(t.Context(), a.Name, Change{Role: &viewer}, "test")
	if err != nil || len(a.Vendors) != 0 {
		t.Errorf("Change(viewer) = %+v, %v; want no vendors left", a, err)
	}
	if _, err := w.Change(t.Context(), "nobody", Change{Role: &viewer}, "test"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Change of nobody = %v, want ErrNotFound", err)
	}
}

func TestThrottleIsBounded(t *testing.T) {
	th := newThrottle(2, time.Second)
	now := time.Now()
	for i := range maxBuckets + 100 {
		th.take(strings.Repeat("x", i%7)+time.Duration(i).String(), now)
	}
	if len(th.spent) > maxBuckets {
		t.Errorf("%d buckets, want at most %d", len(th.spent), maxBuckets)
	}
	if wait := th.take("late", now); wait == 0 {
		t.Error("who comes when there is no room has a bucket for itself")
	}
	if wait := th.take("later", now.Add(time.Minute)); wait != 0 || len(th.spent) != 1 {
		t.Errorf("a minute later: wait %s, %d buckets; want none and one", wait, len(th.spent))
	}
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80": "fe80::/64", "pipe": "pipe",
	} {
		if got := neighbourhood(remote); got != want {
			t.Errorf("neighbourhood(%q) = %q, want %q", remote, got, want)
		}
	}
}
