package sqlite_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/probity-attest/probity/verifier/store"
	"github.com/probity-attest/probity/verifier/store/sqlite"
	"github.com/probity-attest/probity/verifier/store/storetest"
)

func TestConformance(t *testing.T) {
	var places sync.Map
	storetest.Run(t, func(t *testing.T) store.Store {
		place, ok := places.Load(t)
		if !ok {
			place = filepath.Join(t.TempDir(), "probity.db")
			places.Store(t, place)
		}
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: place.(string)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
