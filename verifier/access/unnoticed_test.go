package access

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A session that is used lasts; one that is only looked at ends after Idle as if nobody were there.
func TestUnnoticed(t *testing.T) {
	for _, used := range []bool{true, false} {
		w := newWorld(t, func(c *Config) { c.Idle = time.Hour })
		account := w.add(t, Spec{Name: "alice", Password: password})
		cookie, err := w.Begin(t.Context(), &account)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/v1/stream", http.NoBody)
		r.AddCookie(cookie)
		if !used {
			r = r.WithContext(Unnoticed(r.Context()))
		}
		for range 5 {
			w.now = w.now.Add(20 * time.Minute)
			_, _, err = w.Session(r)
		}
		if used && err != nil || !used && !errors.Is(err, ErrRefused) {
			t.Errorf("session that is used %v, after 100 minutes of an hour's idle time: %v", used, err)
		}
	}
}
