package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// Serve answers requests on l until ctx ends, then lets running ones finish for a while. It returns nil after an orderly
// end. l is closed in any case; it is the caller's to make it a TLS listener.
//
// A client that is slow or opens many connections is cut off before it takes from others: see limits.go.
func Serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	conns := &connections{byHost: map[string]int{}, host: map[net.Conn]string{}}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         conns.state,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug), // failed handshakes of strangers
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve api: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return errors.Join(fmt.Errorf("stop api: requests still ran after %s: %w", shutdownTimeout, err), server.Close())
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
		host := hostOf(conn)
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

func hostOf(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return host
}
