package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrBroken is wrapped by the errors of an export that is not what the verifier wrote.
var ErrBroken = errors.New("audit log is broken")

// Mark is a place in a log by which it is known again.
type Mark struct {
	Seq   int64     `json:"seq"`
	At    time.Time `json:"at"`
	Chain Digest    `json:"chain"`
}

// Summary is what Verify found in an export without faults.
type Summary struct {
	Entries int  `json:"entries"`
	First   Mark `json:"first"` // zero of an empty export, as Last
	Last    Mark `json:"last"`
	// Gaps counts the places where entries are missing between two that are there. An export of everything, or of a
	// span of time, has none; one of a single actor has.
	Gaps int `json:"gaps"`
}

// Whole reports whether the export begins with the first entry of the log and leaves nothing out.
func (s *Summary) Whole() bool { return s.First.Seq == 1 && s.Gaps == 0 }

// Verify reads an export to its end. The checks, for each line: it is an entry, without unknown or ambiguous members; its sequence
// number is higher and its time not earlier than that of the line before; its chain is its Link; what follows on the line
// before without a gap names the chain of that, and the first entry of a log the zero digest. Errors wrap ErrBroken, or
// are r's.
func Verify(r io.Reader) (Summary, error) {
	var s Summary
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		e, err := parse(lines.Bytes())
		if err == nil {
			err = s.follow(e)
		}
		if err != nil {
			return Summary{}, fmt.Errorf("%w: line %d: %w", ErrBroken, n, err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return Summary{}, fmt.Errorf("%w: a line has more than %d bytes", ErrBroken, maxLine)
	} else if err != nil {
		return Summary{}, fmt.Errorf("read audit log: %w", err)
	}
	return s, nil
}

func parse(line []byte) (*Entry, error) {
	if err := unambiguous(line); err != nil {
		return nil, err
	}
	var e Entry
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return nil, fmt.Errorf("not an entry: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one entry")
	}
	return &e, nil
}

// unambiguous reports members that other readers may take for other values than Entry does: Go takes the last of two with
// one name, in whatever case they are.
func unambiguous(line []byte) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not an entry")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("not an entry: %w", err)
		}
		name, _ := t.(string)
		if seen[name] || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") != "" {
			return fmt.Errorf("not an entry: it has the member %.64q, or has it twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("not an entry: %w", err)
		}
	}
	return nil
}

// follow checks an entry against what came before and counts it.
func (s *Summary) follow(e *Entry) error {
	switch {
	case e.At.Nanosecond()%int(time.Microsecond) != 0:
		return fmt.Errorf("entry %d was changed: its time is finer than microseconds", e.Seq)
	case e.Seq < 1 || s.Entries > 0 && e.Seq <= s.Last.Seq:
		return fmt.Errorf("entry %d after entry %d", e.Seq, s.Last.Seq)
	case e.At.Before(s.Last.At):
		return fmt.Errorf("entry %d is older than entry %d", e.Seq, s.Last.Seq)
	case e.Link() != e.Chain:
		return fmt.Errorf("entry %d was changed: its chain does not fit its content", e.Seq)
	case e.Seq == 1 && e.Before != Digest{}:
		return errors.New("entry 1 names one before it")
	case s.Entries > 0 && e.Seq == s.Last.Seq+1 && e.Before != s.Last.Chain:
		return fmt.Errorf("entry %d does not follow on entry %d: one of them was replaced", e.Seq, s.Last.Seq)
	}
	mark := Mark{Seq: e.Seq, At: e.At, Chain: e.Chain}
	if s.Entries == 0 {
		s.First = mark
	} else if e.Seq != s.Last.Seq+1 {
		s.Gaps++
	}
	s.Last = mark
	s.Entries++
	return nil
}
