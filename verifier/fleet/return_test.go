package fleet

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// arrival is a report of a device that comes at a time of the simulated clock, in milliseconds.
type arrival struct {
	at, due int64 // due is when the device first asked; later where it had to ask again
	tries   int
	round   int
}

type arrivals []arrival

func (a arrivals) Len() int           { return len(a) }
func (a arrivals) Less(i, j int) bool { return a[i].at < a[j].at }
func (a arrivals) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(v any)        { *a = append(*a, v.(arrival)) }
func (a *arrivals) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

// back is what a fleet does after a verifier was down: how many reports came in each second, and how long each device
// waited in each round.
type back struct {
	seconds []int
	waits   [][]int64 // by round, milliseconds
	gap     int64     // longest time between two reports of one device, milliseconds
}

// comeBack simulates devices that all are overdue, with a fake clock: they connect spread over first, and the verifier
// serves so many a second and holds so many in its queues. A report over that is lost, and the agent asks again with
// full jitter below a bound that doubles from 30 s to 15 min (agent/link, Timing). next is what receipts say.
func comeBack(devices, rate, queue int, first time.Duration, rounds int, next func() uint32) back {
	var b back
	b.waits = make([][]int64, rounds)
	random := rand.New(rand.NewPCG(52, 52))
	var waiting arrivals
	for range devices {
		at := random.Int64N(first.Milliseconds() + 1)
		waiting = append(waiting, arrival{at: at, due: at})
	}
	heap.Init(&waiting)
	served := int64(0) // when the verifier is done with all that is queued, microseconds
	for len(waiting) > 0 {
		a := heap.Pop(&waiting).(arrival)
		for int(a.at/1000) >= len(b.seconds) {
			b.seconds = append(b.seconds, 0)
		}
		b.seconds[a.at/1000]++
		served = max(served, a.at*1000)
		if queued := (served - a.at*1000) * int64(rate) / 1_000_000; queued >= int64(queue) {
			bound := min(30*time.Second<<min(a.tries, 5), 15*time.Minute)
			a.tries++
			a.at += random.Int64N(bound.Milliseconds()) + 1
			heap.Push(&waiting, a)
			continue
		}
		served += 1_000_000 / int64(rate)
		done := served / 1000
		b.waits[a.round] = append(b.waits[a.round], done-a.due)
		if a.round+1 == rounds {
			continue
		}
		wait := int64(next()) * 1000
		wait += random.Int64N(wait/10 + 1) // the agent's own spread
		b.gap = max(b.gap, done-a.due+wait)
		heap.Push(&waiting, arrival{at: done + wait, due: done + wait, round: a.round + 1})
	}
	return b
}

// most returns the most reports that came in any second from one on.
func (b *back) most(from time.Duration) int { return slices.Max(b.seconds[int(from.Seconds()):]) }

// A verifier was down for an hour and 100,000 devices return, at worst all in the same second (ATTACKS row 52). All are
// served soon, and receipts spread them, so that the storm does not come again with every interval.
func TestHundredThousandReturn(t *testing.T) {
	// Two cores do more (DESIGN, section 9: 2,778 a second). The queues are those of package link.
	const devices, rate, queue = 100_000, 1500, 32 * 1024
	for name, test := range map[string]struct {
		interval, first time.Duration
	}{
		"reporting every 20 minutes, back within 5": {20 * time.Minute, 5 * time.Minute}, // Timing.ReconnectMax
		"reporting every 20 minutes, back at once":  {20 * time.Minute, 0},
		"reporting every 5 minutes, back at once":   {5 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := comeBack(devices, rate, queue, test.first, 4, func() uint32 { return next(test.interval) })
			for round, waits := range b.waits {
				if len(waits) != devices {
					t.Errorf("round %d: %d devices were served, want %d", round, len(waits), devices)
				}
				slices.Sort(waits)
				t.Logf("round %d: median wait %d ms, longest %d ms", round, waits[len(waits)/2], waits[len(waits)-1])
			}
			// The first round is the storm; whoever was lost in it comes again within minutes.
			if longest := time.Duration(slices.Max(b.waits[0])) * time.Millisecond; longest > 10*time.Minute {
				t.Errorf("a device waited %v in the storm, want at most 10 min", longest)
			}
			// From then on nobody waits, because no second brings more than the verifier does in one.
			for round := 1; round < len(b.waits); round++ {
				if p99 := b.waits[round][devices*99/100]; p99 > 1000 {
					t.Errorf("round %d: one in a hundred devices waited %d ms, want under a second", round, p99)
				}
			}
			if most := b.most(test.interval/2 + test.first); most > rate {
				t.Errorf("%d reports came in one second after the storm, want at most %d", most, rate)
			}
			// Nobody becomes stale by it: a verdict lasts for three intervals.
			if gap := time.Duration(b.gap) * time.Millisecond; gap > 3*test.interval {
				t.Errorf("a device was silent for %v, want less than %v", gap, 3*test.interval)
			}
		})
	}
	// What it would be without: the storm returns, undiminished, with each round. The spread of receipts is added to the
	// agent's own, which is half as wide, and to how the storm itself spread what it lost.
	even := comeBack(devices, rate, queue, 0, 2, func() uint32 { return 1200 })
	spread := comeBack(devices, rate, queue, 0, 2, func() uint32 { return next(20 * time.Minute) })
	if a, b := even.most(10*time.Minute), spread.most(10*time.Minute); b*3 > a*2 {
		t.Errorf("the storm comes again with %d reports a second, without spreading with %d: want less than two thirds", b, a)
	}
}

// A receipt spreads devices over a fifth of the interval, never so far that silence would make one stale.
func TestNextIsSpread(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Second, time.Minute, 20 * time.Minute, 24 * time.Hour} {
		seen := map[uint32]int{}
		least, most := uint32(1<<31), uint32(0)
		const draws = 10_000
		for range draws {
			n := next(interval)
			seen[n]++
			least, most = min(least, n), max(most, n)
		}
		seconds := uint32(interval / time.Second)
		if least < max(seconds*9/10-1, 1) || most > seconds*11/10 {
			t.Errorf("next(%v) is between %d and %d s, want at most a tenth off", interval, least, most)
		}
		if width := seconds / 5; width > 10 && len(seen) < int(min(width, 1000))*9/10 {
			t.Errorf("next(%v) has %d values, want about %d", interval, len(seen), width)
		}
	}
}
