package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/probity-attest/probity/verifier/store"
)

const workers = 16

func parallel(run func(worker int)) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { run(w) })
	}
	wg.Wait()
}

// lostUpdates counts in one device's label from many goroutines, by SaveDevice and by Record: each must be counted.
func lostUpdates(s *suite) {
	const each = 10
	d := device("t", id("aa"))
	d.Label = "0"
	s.save(d)
	parallel(func(w int) {
		for done := 0; done < each; {
			d, err := s.Device(s.ctx, "t", id("aa"))
			if err != nil {
				s.Errorf("Device() = %v", err)
				return
			}
			n, _ := strconv.Atoi(d.Label)
			d.Label = strconv.Itoa(n + 1)
			if w%2 == 0 {
				_, err = s.SaveDevice(s.ctx, d)
			} else {
				err = s.Record(s.ctx, outcome(d, n))
			}
			switch {
			case err == nil:
				done++
			case !errors.Is(err, store.ErrConflict):
				s.Errorf("write = %v, want nil or ErrConflict", err)
				return
			}
		}
	})
	s.same("count", s.stored("t", id("aa")).Label, strconv.Itoa(workers*each))
	r, err := s.Results(s.ctx, "t", id("aa"), 0, 1000)
	s.must("Results", err)
	if len(r) != workers/2*each {
		s.Errorf("%d results, want %d", len(r), workers/2*each)
	}
}

func concurrentCreation(s *suite) {
	var created atomic.Int32
	parallel(func(w int) {
		d := device("t", id("aa"))
		d.Label = fmt.Sprint(w)
		switch _, err := s.SaveDevice(s.ctx, d, store.Event{Device: d.ID, Detail: d.Label}); {
		case err == nil:
			created.Add(1)
		case !errors.Is(err, store.ErrConflict):
			s.Errorf("SaveDevice() = %v, want nil or ErrConflict", err)
		}
	})
	if created.Load() != 1 {
		s.Errorf("created %d times, want once", created.Load())
	}
	s.same("events", s.details("t", id("aa")), []string{s.stored("t", id("aa")).Label})
}

func tokenRace(s *suite) {
	const uses = 5
	s.must("AddToken", s.AddToken(s.ctx, token("t", "one", uses)))
	var admitted atomic.Int32
	parallel(func(w int) {
		dev := fmt.Sprintf("device %02d", w)
		first := s.UseToken(s.ctx, "one", dev, epoch)
		again := s.UseToken(s.ctx, "one", dev, epoch)
		switch {
		case first == nil && again == nil:
			admitted.Add(1)
		case !errors.Is(first, store.ErrUsed) || !errors.Is(again, store.ErrUsed):
			s.Errorf("UseToken() = %v, then %v", first, again)
		}
	})
	got, err := s.Token(s.ctx, "one")
	s.must("Token", err)
	if admitted.Load() != uses || len(got.Devices) != uses || got.Uses != 0 {
		s.Errorf("admitted %d, token %+v, want %d devices", admitted.Load(), got, uses)
	}
}

func settingRace(s *suite) {
	values := make([][]byte, workers)
	parallel(func(w int) {
		var err error
		if values[w], err = s.Setting(s.ctx, "nonce-key", []byte{byte(w + 1)}); err != nil {
			s.Errorf("Setting() = %v", err)
		}
	})
	for _, v := range values {
		s.same("setting", v, values[0])
	}
}

// durability closes the place and opens it again after every kind of write.
func durability(s *suite) {
	d := s.save(fullDevice("t", id("aa")))
	o := outcome(d, 1)
	s.must("Record", s.Record(s.ctx, o, store.Event{At: epoch, Device: d.ID, Detail: "kept"}))
	d = s.stored("t", d.ID)
	log := []byte("boot log")
	s.must("PutContent", s.PutContent(s.ctx, sha256.Sum256(log), log))
	s.must("AddReference", s.AddReference(s.ctx, reference("t", "r")))
	s.must("AddToken", s.AddToken(s.ctx, token("t", "one", 2)))
	s.must("UseToken", s.UseToken(s.ctx, "one", d.ID, epoch))
	_, err := s.Setting(s.ctx, "key", []byte("value"))
	s.must("Setting", err)
	gone := s.save(device("t", id("bb")))
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", gone.ID))

	s.Reopen()

	s.same("device", s.stored("t", d.ID), d)
	list := s.results("t", d.ID)
	if len(list) != 1 {
		s.Fatalf("%d results, want 1", len(list))
	}
	s.same("result", list[0].Result, o.Result)
	s.same("events", s.details("t", d.ID), []string{"kept"})
	got, err := s.Content(s.ctx, sha256.Sum256(log))
	s.must("Content", err)
	s.same("content", got, log)
	refs, err := s.References(s.ctx, "t")
	s.must("References", err)
	s.same("references", refs, []store.Reference{reference("t", "r")})
	tok, err := s.Token(s.ctx, "one")
	if err != nil || tok.Uses != 1 || len(tok.Devices) != 1 {
		s.Errorf("token = %+v, %v", tok, err)
	}
	value, err := s.Setting(s.ctx, "key", []byte("other"))
	s.must("Setting", err)
	s.same("setting", string(value), "value")
	_, err = s.Device(s.ctx, "t", gone.ID)
	s.want("Device that was removed", err, store.ErrNotFound)
	s.must("Ping", s.Ping(s.ctx))

	before := list[0].Seq
	d.Version = s.stored("t", d.ID).Version
	s.must("Record", s.Record(s.ctx, outcome(d, 2)))
	if after := s.results("t", d.ID)[0].Seq; after <= before {
		s.Errorf("sequence number after reopening = %d, want more than %d", after, before)
	}
}

// calls is every method of the interface with arguments that succeed; each write would leave a trace.
func calls(s *suite, d store.Device) map[string]func(context.Context) error {
	log := []byte("log")
	return map[string]func(context.Context) error{
		"Device":  func(ctx context.Context) error { _, err := s.Device(ctx, "t", d.ID); return err },
		"Resolve": func(ctx context.Context) error { _, err := s.Resolve(ctx, "t", d.ID); return err },
		"Devices": func(ctx context.Context) error { _, err := s.Devices(ctx, store.Filter{}); return err },
		"Overdue": func(ctx context.Context) error { _, err := s.Overdue(ctx, epoch, 1); return err },
		"Counts":  func(ctx context.Context) error { _, err := s.Counts(ctx, "t", epoch); return err },
		"SaveDevice": func(ctx context.Context) error {
			_, err := s.SaveDevice(ctx, d, store.Event{Detail: "trace"})
			return err
		},
		"RemoveDevice": func(ctx context.Context) error { return s.RemoveDevice(ctx, "t", d.ID) },
		"Record":       func(ctx context.Context) error { return s.Record(ctx, outcome(d, 1), store.Event{Detail: "trace"}) },
		"Results":      func(ctx context.Context) error { _, err := s.Results(ctx, "t", d.ID, 0, 0); return err },
		"Evidence": func(ctx context.Context) error {
			_, err := s.Evidence(ctx, "t", d.ID, outcome(d, 1).Result.Evidence)
			return err
		},
		"Content":         func(ctx context.Context) error { _, err := s.Content(ctx, sha256.Sum256(log)); return err },
		"PutContent":      func(ctx context.Context) error { return s.PutContent(ctx, sha256.Sum256(log), log) },
		"References":      func(ctx context.Context) error { _, err := s.References(ctx, "t"); return err },
		"AddReference":    func(ctx context.Context) error { return s.AddReference(ctx, reference("t", "trace")) },
		"RetireReference": func(ctx context.Context) error { return s.RetireReference(ctx, "t", "kept", epoch) },
		"Token":           func(ctx context.Context) error { _, err := s.Token(ctx, "one"); return err },
		"Tokens":          func(ctx context.Context) error { _, err := s.Tokens(ctx, "t"); return err },
		"AddToken":        func(ctx context.Context) error { return s.AddToken(ctx, token("t", "trace", 1)) },
		"UseToken":        func(ctx context.Context) error { return s.UseToken(ctx, "one", "trace", epoch) },
		"RevokeToken":     func(ctx context.Context) error { return s.RevokeToken(ctx, "one") },
		"AddEvent":        func(ctx context.Context) error { return s.AddEvent(ctx, store.Event{Tenant: "t", Detail: "trace"}) },
		"Events":          func(ctx context.Context) error { _, err := s.Events(ctx, "t", "", 0, 0); return err },
		"Setting":         func(ctx context.Context) error { _, err := s.Setting(ctx, "trace", []byte{1}); return err },
		"Ping":            s.Ping,
	}
}

// contextEnded calls every method with a context that has ended: each returns its error, and none left a trace.
func contextEnded(s *suite) {
	d := s.save(device("t", id("aa")))
	s.must("AddReference", s.AddReference(s.ctx, reference("t", "kept")))
	s.must("AddToken", s.AddToken(s.ctx, token("t", "one", 1)))
	ended, cancel := context.WithCancel(s.ctx)
	cancel()
	for name, call := range calls(s, d) {
		s.want(name, call(ended), context.Canceled)
	}
	s.same("device", s.stored("t", d.ID), d)
	s.same("events", s.details("t", ""), []string(nil))
	s.same("results", s.results("t", d.ID), []store.StoredResult(nil))
	refs, err := s.References(s.ctx, "t")
	s.must("References", err)
	s.same("references", refs, []store.Reference{reference("t", "kept")})
	list, err := s.Tokens(s.ctx, "t")
	s.must("Tokens", err)
	s.same("tokens", list, []store.Token{token("t", "one", 1)})
	_, err = s.Setting(s.ctx, "trace", nil)
	s.want("Setting", err, store.ErrNotFound)
	_, err = s.Content(s.ctx, sha256.Sum256([]byte("log")))
	s.want("Content", err, store.ErrNotFound)
}

// closed calls every method after Close: each fails, none blocks or panics.
func closed(s *suite) {
	d := s.save(device("t", id("aa")))
	s.must("Close", s.Close())
	for name, call := range calls(s, d) {
		if err := call(s.ctx); err == nil {
			s.Errorf("%s after Close succeeded, want an error", name)
		}
	}
	s.must("Close again", s.Close())
}
