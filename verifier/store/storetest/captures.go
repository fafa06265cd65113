package storetest

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

func capture(d store.Device) store.Capture {
	return store.Capture{
		Tenant: d.Tenant, Device: d.ID, State: store.CaptureAsked, Updated: epoch,
		CaptureDetails: store.CaptureDetails{
			Region: "bios", Offset: 1 << 40, Length: 7, Nonce: []byte{1}, Actor: "alice", Created: epoch, Expires: epoch.Add(time.Hour),
		},
	}
}

func (s *suite) addCapture(d store.Device) store.Capture {
	s.Helper()
	c := capture(d)
	var err error
	c.Seq, err = s.AddCapture(s.ctx, c, store.Event{Device: d.ID, Detail: "asked"})
	s.must("AddCapture", err)
	return c
}

// captured reads what has come, piece by piece.
func (s *suite) captured(c store.Capture, from uint32) []byte {
	s.Helper()
	var all []byte
	for at := from; at < c.Held; {
		b, err := s.CapturePiece(s.ctx, c.Tenant, c.Device, c.Seq, at)
		s.must(fmt.Sprintf("CapturePiece(%d)", at), err)
		if len(b) == 0 {
			s.Fatalf("CapturePiece(%d) is empty", at)
		}
		all = append(all, b...)
		at += uint32(len(b))
	}
	return all
}

func captures(s *suite) {
	d := s.save(device("t", id("aa")))
	_, err := s.AddCapture(s.ctx, capture(device("t", id("bb"))))
	s.want("AddCapture of an unknown device", err, store.ErrNotFound)
	bad := capture(d)
	bad.State = "mood"
	_, err = s.AddCapture(s.ctx, bad)
	s.want("AddCapture in an unknown state", err, store.ErrInvalid)
	bad.State = store.CaptureDone
	_, err = s.AddCapture(s.ctx, bad)
	s.want("AddCapture of a final one", err, store.ErrInvalid)
	bad = capture(d)
	bad.Region = "\x00"
	_, err = s.AddCapture(s.ctx, bad)
	s.want("AddCapture with NUL", err, store.ErrInvalid)

	c := s.addCapture(d)
	_, err = s.AddCapture(s.ctx, capture(d), store.Event{Detail: "no"})
	s.want("AddCapture beside an open one", err, store.ErrConflict)
	s.same("events", s.details("t", d.ID), []string{"asked"})
	got, err := s.OpenCapture(s.ctx, "t", d.ID)
	s.must("OpenCapture", err)
	s.same("open capture", got, c)
	_, err = s.Capture(s.ctx, "other", d.ID, c.Seq)
	s.want("Capture of another tenant", err, store.ErrNotFound)

	at := epoch.Add(time.Minute)
	piece := func(offset uint32, data string, want error) {
		s.Helper()
		err := s.AppendCapture(s.ctx, "t", d.ID, c.Seq, offset, []byte(data), at)
		if want == nil {
			s.must("AppendCapture", err)
			c.Held, c.Updated = offset+uint32(len(data)), at
		} else {
			s.want(fmt.Sprintf("AppendCapture(%d)", offset), err, want)
		}
	}
	piece(1, "x", store.ErrConflict)
	piece(0, "abc", nil)
	piece(0, "abc", store.ErrConflict)
	piece(3, "", store.ErrInvalid)
	piece(3, "defg", nil)
	s.want("AppendCapture of another tenant", s.AppendCapture(s.ctx, "other", d.ID, c.Seq, 7, []byte("x"), at), store.ErrConflict)
	for from := range uint32(7) {
		s.same("bytes", s.captured(c, from), []byte("abcdefg")[from:])
	}
	_, err = s.CapturePiece(s.ctx, "t", d.ID, c.Seq, 7)
	s.want("CapturePiece behind the end", err, store.ErrNotFound)
	_, err = s.CapturePiece(s.ctx, "other", d.ID, c.Seq, 0)
	s.want("CapturePiece of another tenant", err, store.ErrNotFound)

	s.want("CutCapture to more than there is", s.CutCapture(s.ctx, "t", d.ID, c.Seq, 8), store.ErrConflict)
	s.must("CutCapture", s.CutCapture(s.ctx, "t", d.ID, c.Seq, 5))
	c.Held = 5
	s.same("bytes after the cut", s.captured(c, 0), []byte("abcde"))
	piece(5, "FG", nil)
	s.same("bytes", s.captured(c, 2), []byte("cdeFG"))

	stale := c
	stale.Held, stale.State = 5, store.CaptureFailed
	s.want("SaveCapture after more has come", s.SaveCapture(s.ctx, stale, store.Event{Detail: "no"}), store.ErrConflict)
	c.State, c.Digest, c.Size, c.Source, c.Statement, c.Quote, c.Signature, c.Reported = store.CaptureDone, "ff", 7, "mtd:bios", []byte{1}, []byte{2}, []byte{3}, "same"
	s.must("SaveCapture", s.SaveCapture(s.ctx, c, store.Event{Device: d.ID, Detail: "done"}))
	s.want("SaveCapture of a final one", s.SaveCapture(s.ctx, c), store.ErrConflict)
	piece(7, "x", store.ErrConflict)
	s.want("CutCapture of a final one", s.CutCapture(s.ctx, "t", d.ID, c.Seq, 0), store.ErrConflict)
	_, err = s.OpenCapture(s.ctx, "t", d.ID)
	s.want("OpenCapture after the end", err, store.ErrNotFound)
	s.Reopen()
	got, err = s.Capture(s.ctx, "t", d.ID, c.Seq)
	s.must("Capture", err)
	s.same("capture", got, c)
	s.same("bytes", s.captured(c, 0), []byte("abcdeFG"))
	s.same("events", s.details("t", d.ID), []string{"done", "asked"})
}

// captureLists: what is listed, pruned and removed.
func captureLists(s *suite) {
	d, other := s.save(device("t", id("aa"))), s.save(device("u", id("aa")))
	first := s.addCapture(d)
	s.must("AppendCapture", s.AppendCapture(s.ctx, "t", d.ID, first.Seq, 0, bytes.Repeat([]byte{1}, 1000), epoch))
	first.Held, first.State, first.Reason = 1000, store.CaptureFailed, "broken"
	s.must("SaveCapture", s.SaveCapture(s.ctx, first))
	second, theirs := s.addCapture(d), s.addCapture(other)
	s.must("AppendCapture", s.AppendCapture(s.ctx, "u", other.ID, theirs.Seq, 0, []byte{1}, epoch.Add(-time.Minute)))
	list, err := s.Captures(s.ctx, "t", d.ID)
	s.must("Captures", err)
	s.same("captures", list, []store.Capture{second, first})
	for tenant, want := range map[string]uint64{"t": 1000, "u": 1, "v": 0} {
		if n, err := s.CapturedBytes(s.ctx, tenant); err != nil || n != want {
			s.Errorf("CapturedBytes(%s) = %d, %v, want %d", tenant, n, err, want)
		}
	}
	for before, want := range map[time.Duration]int{-time.Minute: 0, 0: 1, time.Microsecond: 2} {
		list, err := s.OpenCaptures(s.ctx, epoch.Add(before), 10)
		if err != nil || len(list) != want || want == 2 && list[0].Tenant != "u" {
			s.Errorf("OpenCaptures(%s) = %+v, %v, want %d, longest idle first", before, list, err, want)
		}
	}
	s.must("PruneCaptures", s.PruneCaptures(s.ctx, epoch))
	if list, _ := s.Captures(s.ctx, "t", d.ID); len(list) != 2 {
		s.Errorf("%d captures after nothing was to prune, want 2", len(list))
	}
	s.must("PruneCaptures", s.PruneCaptures(s.ctx, epoch.Add(time.Hour)))
	if list, _ := s.Captures(s.ctx, "t", d.ID); len(list) != 1 || list[0].Seq != second.Seq {
		s.Errorf("captures after pruning = %+v, want the open one", list)
	}
	s.want("RemoveCapture of another tenant", s.RemoveCapture(s.ctx, "u", d.ID, second.Seq), store.ErrNotFound)
	s.must("RemoveCapture", s.RemoveCapture(s.ctx, "t", d.ID, second.Seq, store.Event{Device: d.ID, Detail: "removed"}))
	s.want("RemoveCapture again", s.RemoveCapture(s.ctx, "t", d.ID, second.Seq, store.Event{Detail: "no"}), store.ErrNotFound)
	third := s.addCapture(d)
	if third.Seq <= second.Seq {
		s.Errorf("capture %d has the number of one that was removed", third.Seq)
	}
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", d.ID))
	_, err = s.Capture(s.ctx, "t", d.ID, third.Seq)
	s.want("Capture of a removed device", err, store.ErrNotFound)
	if n, _ := s.CapturedBytes(s.ctx, "u"); n != 1 {
		s.Errorf("the other tenant's bytes are %d, want 1", n)
	}
}

// similar: findings count by what newest results say.
func similar(s *suite) {
	found := func(code, component, observed string) result.Finding {
		return result.Finding{Code: code, Component: component, Observed: observed, Severity: result.Warn}
	}
	n := 0
	record := func(tenant, name string, findings ...result.Finding) {
		s.Helper()
		d, err := s.Device(s.ctx, tenant, id(name))
		if err != nil {
			d = s.save(device(tenant, id(name)))
		}
		n++
		o := outcome(d, n)
		o.Result.Findings = findings
		s.must("Record", s.Record(s.ctx, o))
	}
	a, b := found("flash-changed", "flash region bios", "aa"), found("flash-changed", "flash region bios", "bb")
	// Fields must not run together.
	if x, y := found("a", "bc", ""), found("ab", "c", ""); store.FindingKey(&x) == store.FindingKey(&y) {
		s.Error("two findings have one key")
	}
	want := func(what string, others map[string]int) {
		s.Helper()
		got, err := s.Similar(s.ctx, "t", id("aa"), []result.Finding{a, b})
		s.must("Similar", err)
		if len(got) != 2 || got[0].Others != others["a"] || got[1].Others != others["b"] || got[0].More {
			s.Errorf("%s: Similar = %+v, want %v", what, got, others)
		}
	}
	record("t", "aa", a)
	want("alone", nil)
	record("t", "bb", a, b, a)
	record("t", "cc", a)
	record("u", "dd", a, b)
	want("three devices", map[string]int{"a": 2, "b": 1})
	got, err := s.Similar(s.ctx, "t", id("aa"), []result.Finding{a})
	s.must("Similar", err)
	s.same("devices", got[0].Devices, []string{id("bb"), id("cc")})
	expected := a
	expected.Expected, expected.Severity = "other", result.Info
	if got, err := s.Similar(s.ctx, "t", id("aa"), []result.Finding{expected}); err != nil || got[0].Others != 2 {
		s.Errorf("Similar of another expectation = %+v, %v, want 2: what is observed counts", got, err)
	}
	record("t", "bb", b) // a is gone there
	record("t", "bb", b)
	want("after it was mended", map[string]int{"a": 1, "b": 1})
	record("t", "bb")
	s.must("RemoveDevice", s.RemoveDevice(s.ctx, "t", id("cc")))
	want("after removal", nil)
	for i := range store.SimilarDevices + 2 {
		record("t", strings.Repeat("e", i+4), b)
	}
	s.Reopen()
	want("after reopening", map[string]int{"b": store.SimilarDevices + 2})
	got, err = s.Similar(s.ctx, "t", id("aa"), []result.Finding{b})
	if err != nil || len(got[0].Devices) != store.SimilarDevices {
		s.Errorf("Similar = %+v, %v, want %d devices", got, err, store.SimilarDevices)
	}
}
