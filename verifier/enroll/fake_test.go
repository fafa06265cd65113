package enroll_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// memory is a store for these tests, with the contract of store.Store. fault, where set, may fail a call.
type memory struct {
	mu      sync.Mutex
	devices map[string]store.Device
	tokens  map[string]store.Token
	events  []store.Event
	fault   func(call string) error
}

func newMemory() *memory {
	return &memory{devices: make(map[string]store.Device), tokens: make(map[string]store.Token)}
}

func (m *memory) begin(call string) error {
	m.mu.Lock()
	if m.fault != nil {
		fault := m.fault
		m.mu.Unlock() // so that a fault may write, as another writer would
		err := fault(call)
		m.mu.Lock()
		return err
	}
	return nil
}

func (m *memory) Device(_ context.Context, tenant, id string) (store.Device, error) {
	err := m.begin("Device")
	defer m.mu.Unlock()
	if err != nil {
		return store.Device{}, err
	}
	d, ok := m.devices[tenant+"/"+id]
	if !ok {
		return store.Device{}, store.ErrNotFound
	}
	return d, nil
}

func (m *memory) SaveDevice(_ context.Context, d store.Device, events ...store.Event) (int64, error) {
	err := m.begin("SaveDevice")
	defer m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	key := d.Tenant + "/" + d.ID
	if m.devices[key].Version != d.Version {
		return 0, store.ErrConflict
	}
	d.Version++
	m.devices[key] = d
	m.events = append(m.events, events...)
	return d.Version, nil
}

func (m *memory) Token(_ context.Context, id string) (store.Token, error) {
	err := m.begin("Token")
	defer m.mu.Unlock()
	if err != nil {
		return store.Token{}, err
	}
	t, ok := m.tokens[id]
	if !ok {
		return store.Token{}, store.ErrNotFound
	}
	return t, nil
}

func (m *memory) UseToken(_ context.Context, id, device string, now time.Time) error {
	err := m.begin("UseToken")
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	t, ok := m.tokens[id]
	switch {
	case !ok:
		return store.ErrNotFound
	case t.Revoked || !now.Before(t.Expires):
		return store.ErrExpired
	case slices.Contains(t.Devices, device):
		return nil
	case t.Uses <= 0:
		return store.ErrUsed
	}
	t.Uses--
	t.Devices = append(slices.Clone(t.Devices), device)
	m.tokens[id] = t
	return nil
}

func (m *memory) AddEvent(_ context.Context, e store.Event) error {
	err := m.begin("AddEvent")
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	m.events = append(m.events, e)
	return nil
}

func (m *memory) setFault(f func(call string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// device returns the record without going through fault.
func (m *memory) device(tenant, id string) (store.Device, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.devices[tenant+"/"+id]
	return d, ok
}

// put writes a record as another writer does.
func (m *memory) put(d store.Device) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d.Version++
	m.devices[d.Tenant+"/"+d.ID] = d
}

func (m *memory) remove(tenant, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.devices, tenant+"/"+id)
}

// kinds returns the kinds of all events so far, and forgets them.
func (m *memory) kinds() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, e := range m.events {
		out = append(out, e.Kind)
	}
	m.events = nil
	return out
}
