package flash

import (
	"context"
	"time"
)

// pace keeps reading to a rate. It saves nothing up: a pause, such as a suspended machine, is not followed by a burst.
type pace struct {
	perSecond int64
	now       func() time.Time
	wait      func(context.Context, time.Duration) error
	free      time.Time // when the next piece may be read
}

func newPace(opts HashOptions) *pace {
	p := &pace{perSecond: opts.BytesPerSecond, now: opts.Now, wait: opts.Wait}
	if p.now == nil {
		p.now = time.Now
	}
	if p.wait == nil {
		p.wait = wait
	}
	p.free = p.now()
	return p
}

// took waits until a piece of n bytes has had its time.
func (p *pace) took(ctx context.Context, n int) error {
	if p.perSecond <= 0 || n == 0 {
		yield()
		return nil
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.perSecond) * float64(time.Second)))
	now := p.now()
	if d := p.free.Sub(now); d > 0 {
		return p.wait(ctx, d)
	}
	p.free = now
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
