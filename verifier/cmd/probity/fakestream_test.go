package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func writeFile(name, text string) error { return os.WriteFile(name, []byte(text), 0o600) }

// stream sends what tell says until the client goes.
func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	events := make(chan string, 16)
	f.mu.Lock()
	f.streams = append(f.streams, events)
	f.requests = append(f.requests, "GET /v1/stream")
	f.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	_, _ = fmt.Fprint(w, ": heartbeat\n\n")
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-events:
			_, _ = fmt.Fprint(w, e)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// tell sends an event to all who listen: "tell KIND DATA".
func (f *fake) tell(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: tell KIND DATA")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.streams {
		s <- fmt.Sprintf("id: 1\nevent: %s\ndata: %s\n\n", args[0], args[1])
	}
}

// await waits until there were so many requests: "await COUNT REGEXP".
func (f *fake) await(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await COUNT REGEXP")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got := 0
		f.mu.Lock()
		for _, r := range f.requests {
			if pattern.MatchString(r) {
				got++
			}
		}
		f.mu.Unlock()
		switch {
		case got >= want:
			return
		case time.Now().After(end):
			ts.Fatalf("%d requests like %q, want %d", got, args[1], want)
		}
	}
}
