package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

const (
	killEnv     = "PROBITY_TEST_KILL"
	killWriters = 8
)

// TestKill kills a process that records outcomes, at random moments and without warning: after reopening, everything that
// it acknowledged is there, with its evidence and event, and the database is whole.
func TestKill(t *testing.T) {
	if path := os.Getenv(killEnv); path != "" {
		recordUntilKilled(path)
		return
	}
	path := filepath.Join(t.TempDir(), "kill.db")
	acknowledged := make(map[string]bool)
	for round := range 8 {
		for _, line := range killRound(t, path, 1+rand.IntN(300)) {
			acknowledged[line] = true
		}
		s := openTest(t, path)
		found := make(map[string]bool)
		for w := range killWriters {
			readAll(t, s, killDevice(w).ID, found)
		}
		for line := range acknowledged {
			if !found[line] {
				t.Errorf("round %d: acknowledged outcome %q is lost", round, line)
			}
		}
		if err := s.Close(); err != nil { // also the write-ahead log is whole
			t.Errorf("round %d: Close() = %v", round, err)
		}
	}
	t.Logf("%d outcomes were acknowledged", len(acknowledged))
}

func killDevice(w int) store.Device {
	return store.Device{Tenant: "t", ID: fmt.Sprintf("%064x", w), Status: store.Active, State: result.NeverAttested}
}

// recordUntilKilled prints "writer number" after each acknowledgement.
func recordUntilKilled(path string) {
	s, err := Open(context.Background(), Config{Path: path})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var next atomic.Int64
	next.Store(rand.Int64N(1 << 60))
	var wg sync.WaitGroup
	for w := range killWriters {
		wg.Go(func() {
			d, err := s.Device(context.Background(), "t", killDevice(w).ID)
			if err != nil {
				d = killDevice(w)
				if d.Version, err = s.SaveDevice(context.Background(), d); err != nil {
					fmt.Println("error", err)
					return
				}
			}
			for {
				n := next.Add(1)
				o := benchOutcome(d, n)
				o.Result.Policy = strconv.FormatInt(n, 10)
				event := store.Event{Device: d.ID, Detail: o.Result.Policy}
				if err := s.Record(context.Background(), o, event); err != nil {
					fmt.Println("error", err)
					return
				}
				d.Version++
				os.Stdout.WriteString(d.ID + " " + o.Result.Policy + "\n")
			}
		})
	}
	wg.Wait()
}

// killRound starts the process, reads some acknowledgements, kills it, and returns all that it had printed.
func killRound(t *testing.T, path string, after int) (lines []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), killEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A line that the kill cut is not an acknowledgement; ReadString tells it by its missing end.
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		if strings.HasPrefix(line, "error") {
			t.Errorf("writing process: %s", line)
			break
		}
		if lines = append(lines, strings.TrimSpace(line)); len(lines) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return lines
}

// readAll collects a device's outcomes, and checks that each has its evidence and its event.
func readAll(t *testing.T, s *Store, id string, found map[string]bool) {
	t.Helper()
	events := make(map[string]bool)
	for before := int64(0); ; {
		page, err := s.Events(t.Context(), "t", id, before, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			events[e.Detail] = true
		}
		before = page[len(page)-1].Seq
	}
	results := 0
	for before := int64(0); ; {
		page, err := s.Results(t.Context(), "t", id, before, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			if _, err := s.Evidence(t.Context(), "t", id, r.Result.Evidence); err != nil || !events[r.Result.Policy] {
				t.Errorf("result %s of %s: evidence %v, event %t", r.Result.Policy, id, err, events[r.Result.Policy])
			}
			found[id+" "+r.Result.Policy] = true
			results++
		}
		before = page[len(page)-1].Seq
	}
	if results != len(events) {
		t.Errorf("device %s has %d results and %d events", id, results, len(events))
	}
}
