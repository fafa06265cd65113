package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// Limits of the stream of events (server-sent events, HTML standard, section 9.2).
const (
	maxStreamLine  = 64 << 10         // bytes
	firstReconnect = 2 * time.Second  // after a stream that broke
	lastReconnect  = 60 * time.Second // after several that did
)

// streamEvent is one event of the verifier's stream.
type streamEvent struct{ kind, data string }

// news tells when something happened at the verifier. Several things that happen before anybody listens are one. A
// verifier without a stream tells nothing: whoever listens must also look by itself.
func (a *app) news(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	c, err := a.client()
	if err != nil {
		return out // the first look says why
	}
	go c.follow(ctx, func(streamEvent) {
		select {
		case out <- struct{}{}:
		default:
		}
	})
	return out
}

// follow hands on the events of the stream until ctx ends or the verifier says that there is none for this principal.
func (c *client) follow(ctx context.Context, each func(streamEvent)) {
	wait := firstReconnect
	for {
		began := time.Now()
		if !c.streamOnce(ctx, each) || ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastReconnect {
			wait = firstReconnect
		}
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, lastReconnect)
	}
}

// streamOnce follows the stream until it ends and reports whether it is worth trying again.
func (c *client) streamOnce(ctx context.Context, each func(streamEvent)) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/stream", nil)
	if err != nil {
		return false
	}
	c.signIn(req)
	req.Header.Set("Accept", "text/event-stream")
	patient := *c.http
	patient.Timeout = 0 // it lasts
	res, err := patient.Do(req)
	if err != nil {
		return true
	}
	defer res.Body.Close()
	switch kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); {
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode >= http.StatusInternalServerError:
		return true
	case res.StatusCode != http.StatusOK, kind != "text/event-stream":
		return false
	}
	_ = readEvents(res.Body, each) // it broke: try again
	return true
}

// readEvents reads a stream of events until it ends.
func readEvents(r io.Reader, each func(streamEvent)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxStreamLine)
	var e streamEvent
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			if e.data != "" {
				each(e)
			}
			e = streamEvent{}
		case name == "event":
			e.kind = value
		case name == "data" && len(e.data)+len(value) > maxStreamLine:
			return fmt.Errorf("an event of more than %d bytes", maxStreamLine)
		case name == "data":
			e.data += value + "\n"
		}
	}
	return lines.Err()
}
