package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// Spans in which changes of state are counted, in seconds.
const (
	minuteSpan     = 60
	tenMinutesSpan = 600
	hourSpan       = 3600
	daySpan        = 86400
)

// maxPoints is the most points of a History.
const maxPoints = 2000

// History returns how many devices were in each state over time: what is now, without what has changed since.
func (s *Store) History(
	ctx context.Context, tenant string, to, now time.Time, step time.Duration, points int,
) (out store.History, err error) {
	if step < time.Minute || step%time.Minute != 0 || points < 1 || points > maxPoints {
		return out, fmt.Errorf("%w history: %d points of %s: want whole minutes and at most %d points", store.ErrInvalid,
			points, step, maxPoints)
	}
	seconds := int64(step / time.Second)
	last := (to.Unix() + seconds - 1) / seconds * seconds
	out.States, out.Reports = make(map[result.State][]int), make([]int, points)
	at := make([]int64, points) // seconds
	for i := range at {
		at[i] = last - int64(points-1-i)*seconds
		out.At = append(out.At, time.Unix(at[i], 0).UTC())
	}
	err = s.snapshot(ctx, "read history", func(r *reader) error {
		is, err := r.shownNow(tenant)
		if err != nil {
			return err
		}
		if err := r.rewind(tenant, is, at, seconds, out.States); err != nil {
			return err
		}
		if err := r.lateSince(tenant, now.UnixMicro(), at, out.States); err != nil {
			return err
		}
		return r.reportsIn(tenant, at, seconds, out.Reports)
	})
	for state, counts := range out.States {
		if !slices.ContainsFunc(counts, func(n int) bool { return n != 0 }) {
			delete(out.States, state)
		}
	}
	return out, err
}

func (r *reader) shownNow(tenant string) (map[result.State]int, error) {
	return r.countsBy(`SELECT value, n FROM facets WHERE tenant = ? AND kind = 'shown'`, tenant)
}

// rewind goes back from what is to the points, the last one first, undoing changes of state.
func (r *reader) rewind(
	tenant string, is map[result.State]int, at []int64, step int64, states map[result.State][]int,
) error {
	undo := func(change transition) {
		is[change.became] -= change.n
		is[change.was] += change.n
	}
	if err := r.changesSince(tenant, at[len(at)-1], undo); err != nil {
		return err
	}
	span := int64(minuteSpan)
	for _, s := range []int64{tenMinutesSpan, hourSpan, daySpan} {
		if step%s == 0 {
			span = s
		}
	}
	// Changes in spans that end at a point happened before it.
	var within []transition
	err := r.transitions(tenant, span, at[0]/span, at[len(at)-1]/span, func(c transition) { within = append(within, c) })
	if err != nil {
		return err
	}
	next := len(within) - 1 // they ascend in time
	for i := len(at) - 1; i >= 0; i-- {
		for ; next >= 0 && within[next].at*span >= at[i]; next-- {
			undo(within[next])
		}
		for _, state := range store.States {
			if states[state] == nil {
				states[state] = make([]int, len(at))
			}
			states[state][i] = max(is[state], 0)
		}
	}
	return nil
}

// transition is devices that changed from a state to another in a span.
type transition struct {
	at          int64
	was, became result.State
	n           int
}

// transitions calls each for the changes of spans from on, before to, in ascending time.
func (r *reader) transitions(tenant string, span, from, to int64, each func(transition)) error {
	return r.rows(`SELECT at, was, became, n FROM moves WHERE tenant = ? AND span = ? AND at >= ? AND at < ? ORDER BY at`,
		[]any{tenant, span, from, to}, func(rows *sql.Rows) error {
			var c transition
			err := rows.Scan(&c.at, &c.was, &c.became, &c.n)
			each(c)
			return err
		})
}

// changesSince calls each for all changes from a time on, which is a whole minute: by minutes to the end of its hour,
// by hours to the end of its day, then by days.
func (r *reader) changesSince(tenant string, from int64, each func(transition)) error {
	hour := (from + hourSpan - 1) / hourSpan
	day := (hour*hourSpan + daySpan - 1) / daySpan
	if err := r.transitions(tenant, minuteSpan, from/minuteSpan, hour*hourSpan/minuteSpan, each); err != nil {
		return err
	}
	if err := r.transitions(tenant, hourSpan, hour, day*daySpan/hourSpan, each); err != nil {
		return err
	}
	return r.transitions(tenant, daySpan, day, math.MaxInt64, each)
}

// lateSince counts devices that are silent, which is not written down yet, as stale from the time on when they became
// so. Of more than effort.late, those that are silent for longest are; the others are at the last point alone, if that
// is now.
func (r *reader) lateSince(tenant string, now int64, at []int64, states map[result.State][]int) error {
	became := make(map[result.State][]int) // at each point, of those that were in a state
	counted := 0
	err := r.rows(`SELECT shown, minute, count(*) FROM (
			SELECT d.shown, d.stale_at / 60000000 AS minute FROM devices d INDEXED BY devices_overdue WHERE d.silenced = 0
				AND d.stale_at > 0 AND d.state <> 'never-attested' AND d.stale_at <= ? AND d.tenant = ? ORDER BY d.stale_at LIMIT ?
		) GROUP BY 1, 2`, []any{now, tenant, r.effort.late}, func(rows *sql.Rows) error {
		var state result.State
		var minute int64
		var n int
		err := rows.Scan(&state, &minute, &n)
		if became[state] == nil {
			became[state] = make([]int, len(at))
		}
		if i, _ := slices.BinarySearch(at, minute*minuteSpan+1); i < len(at) {
			became[state][i] += n
		}
		counted += n
		return err
	})
	if err != nil {
		return err
	}
	move := func(state result.State, i, n int) {
		n = max(0, min(n, states[state][i]))
		states[state][i] -= n
		states[result.Stale][i] += n
	}
	for state, counts := range became {
		late := 0
		for i, n := range counts {
			late += n
			move(state, i, late)
		}
	}
	last := len(at) - 1
	if counted < r.effort.late || at[last] < now/1e6 {
		return nil
	}
	current, err := r.current(tenant, now)
	for state := range states {
		if state != result.Stale && state != result.NeverAttested {
			move(state, last, states[state][last]-current[state])
		}
	}
	return err
}

// reportsIn counts appraisals in the steps that end at the points.
func (r *reader) reportsIn(tenant string, at []int64, step int64, out []int) error {
	span := int64(minuteSpan)
	if step%hourSpan == 0 {
		span = hourSpan
	}
	first := at[0] - step
	return r.rows(`SELECT at, total FROM reports WHERE tenant = ? AND span = ? AND at >= ? AND at < ?`,
		[]any{tenant, span, first / span, at[len(at)-1] / span}, func(rows *sql.Rows) error {
			var when int64
			var n int
			if err := rows.Scan(&when, &n); err != nil {
				return err
			}
			if i := (when*span - first) / step; i >= 0 && i < int64(len(out)) {
				out[i] += n
			}
			return nil
		})
}

// Moves returns how many devices changed from one state to another since a time.
func (s *Store) Moves(ctx context.Context, tenant string, since time.Time) (out []store.Move, err error) {
	counts := make(map[store.Move]int)
	err = s.snapshot(ctx, "read changes of state", func(r *reader) error {
		return r.changesSince(tenant, since.Unix()/minuteSpan*minuteSpan, func(c transition) {
			if c.was != "" && c.became != "" && c.was != c.became {
				counts[store.Move{From: c.was, To: c.became}] += c.n
			}
		})
	})
	for m, n := range counts {
		m.Devices = n
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b store.Move) int {
		return cmp.Or(b.Devices-a.Devices, cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return out, err
}

// Changes returns devices' changes of state, newest first.
func (s *Store) Changes(ctx context.Context, tenant string, before int64, limit int) ([]store.Change, error) {
	return readList(ctx, s, "list changes of state", `SELECT e.seq, e.at, e.device, e.detail,
			coalesce(d.label, ''), coalesce(d.vendor, ''), coalesce(d.model, '')
		FROM events e INDEXED BY events_changes LEFT JOIN devices d ON d.tenant = e.tenant AND d.id = e.device
		WHERE e.tenant = ? AND e.kind = 'state-changed' AND e.seq < ? ORDER BY e.seq DESC LIMIT ?`,
		[]any{tenant, upTo(before), store.PageSize(limit)}, func(rows *sql.Rows, c *store.Change) error {
			var detail string
			err := rows.Scan(&c.Seq, clock{&c.At}, &c.Device, &detail, &c.Label, &c.Vendor, &c.Model)
			c.From, c.To, c.Why = parseChange(detail)
			return err
		})
}

// parseChange reads the detail of an event of kind "state-changed": "was -> is", or "was -> is: why". Another text is
// all why.
func parseChange(detail string) (was, is result.State, why string) {
	from, rest, ok := strings.Cut(detail, " -> ")
	to, reason, _ := strings.Cut(rest, ": ")
	was, is = result.State(from), result.State(to)
	if !ok || !slices.Contains(store.States, was) || !slices.Contains(store.States, is) {
		return "", "", detail
	}
	return was, is, reason
}
