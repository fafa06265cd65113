package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/probity-attest/probity/verifier/store"
)

// Progress is how far a job is.
type Progress struct{ Done, Total int }

// job is long work over many devices that somebody asks about while it runs.
type job struct {
	tenant string
	kind   string
	begun  time.Time
	cancel context.CancelFunc

	mu       sync.Mutex
	progress Progress
	result   any
	err      error
	over     bool
}

// jobs are the newest jobs of this process. They are not kept: what a job finds is of the moment.
type jobs struct {
	mu  sync.Mutex
	of  map[string]*job
	ids []string // oldest first
}

// start runs work and returns the id under which it is asked about. work reports how far it is.
func (j *jobs) start(tenant, kind string, now time.Time, work func(ctx context.Context, report func(Progress)) (any, error)) (string, error) {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	id := hex.EncodeToString(b[:])
	ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
	one := &job{tenant: tenant, kind: kind, begun: now, cancel: cancel}
	if err := j.add(id, one); err != nil {
		cancel()
		return "", err
	}
	go func() {
		defer cancel()
		result, err := work(ctx, func(p Progress) {
			one.mu.Lock()
			one.progress = p
			one.mu.Unlock()
		})
		one.mu.Lock()
		one.result, one.err, one.over = result, err, true
		one.mu.Unlock()
	}()
	return id, nil
}

// add makes room for a job: of those that are over the oldest goes, and too many that run are refused.
func (j *jobs) add(id string, one *job) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.of == nil {
		j.of = make(map[string]*job)
	}
	running := 0
	for _, other := range j.of {
		if !other.ended() {
			running++
		}
	}
	if running >= maxRunning {
		return refuse("%d long searches are running already: try again when one is over", running)
	}
	for i := 0; len(j.ids) >= maxJobs && i < len(j.ids); {
		if !j.of[j.ids[i]].ended() {
			i++
			continue
		}
		delete(j.of, j.ids[i])
		j.ids = append(j.ids[:i:i], j.ids[i+1:]...)
	}
	j.of[id], j.ids = one, append(j.ids, id)
	return nil
}

func (o *job) ended() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.over
}

// get returns a job of a tenant.
func (j *jobs) get(tenant, kind, id string) (*job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	one := j.of[id]
	if one == nil || one.tenant != tenant || one.kind != kind {
		return nil, fmt.Errorf("%s %q: %w", kind, id, store.ErrNotFound)
	}
	return one, nil
}

// jobState returns what is known of a job; over is false while it runs.
func jobState[T any](one *job) (result T, p Progress, over bool, err error) {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.over && one.err == nil {
		result, _ = one.result.(T)
	}
	return result, one.progress, one.over, one.err
}
