package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Serve answers requests on l until ctx ends, then lets running ones finish for a while. It returns nil after an
// orderly end. l is closed in any case; it is the caller's to make it a TLS listener.
//
// A client that is slow or opens many connections is cut off before it takes from others: see limits.go.
func Serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	return serve(ctx, l, handler, times{
		header: readHeaderTimeout, read: readTimeout, write: writeTimeout, idle: idleTimeout, stop: shutdownTimeout,
	})
}

// times is how long a client may take: for the header of a request, TLS included, for all of the request, from there to
// the end of the answer, and between requests; and how long running requests may, when the server stops.
type times struct{ header, read, write, idle, stop time.Duration }

func serve(ctx context.Context, l net.Listener, handler http.Handler, t times) error {
	conns := &connections{byHost: map[string]int{}, host: map[net.Conn]string{}}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: t.header,
		ReadTimeout:       t.read,
		WriteTimeout:      t.write,
		IdleTimeout:       t.idle,
		MaxHeaderBytes:    maxHeader,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, ctx.Done())
		},
		ConnState: conns.state,
		ErrorLog:  slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug), // failed handshakes of strangers
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve api: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.stop)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return errors.Join(fmt.Errorf("stop api: requests still ran after %s: %w", t.stop, err), server.Close())
	}
	return nil
}

// connections counts open connections and closes those over the limits.
type connections struct {
	mu     sync.Mutex
	host   map[net.Conn]string
	byHost map[string]int
}

func (c *connections) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		host := origin(conn.RemoteAddr().String())
		c.host[conn] = host
		c.byHost[host]++
		if len(c.host) > maxConns || c.byHost[host] > maxConnsHost {
			_ = conn.Close() // before any handshake: nothing is written, and the server sees the end itself
		}
	case http.StateClosed, http.StateHijacked:
		host, known := c.host[conn]
		if !known {
			return
		}
		delete(c.host, conn)
		if c.byHost[host]--; c.byHost[host] == 0 {
			delete(c.byHost, host)
		}
	}
}
