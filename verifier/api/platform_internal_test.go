package api

import (
	"context"
	"net"
	"net/http"
	"time"
)

// Quicken makes a hub look and check credentials often, for tests.
func (h *Hub) Quicken() { h.pace, h.beat = 5*time.Millisecond, 20*time.Millisecond }

// Listeners returns how many streams are open.
func (h *Hub) Listeners() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total
}

// Rooms returns for how many tenants the hub looks into the store.
func (h *Hub) Rooms() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.rooms)
}

// ServeImpatiently is Serve with clients that may take a second for anything.
func ServeImpatiently(ctx context.Context, l net.Listener, h http.Handler) error {
	return serve(ctx, l, h, times{header: time.Second, read: time.Second, write: time.Second, idle: time.Second, stop: shutdownTimeout})
}
