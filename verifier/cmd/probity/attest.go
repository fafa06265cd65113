package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// Pauses between two questions while waiting for a result.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// rejected is the kind of the event that a verifier records instead of a result for evidence that is not authentic.
const rejected = "evidence-rejected"

func (a *app) deviceAttest() *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "attest DEVICE", Short: "Ask a device for evidence now",
		Long: `Ask a device for evidence now. With --wait the exit code tells the state that the new evidence gives it: see
probity --help.`,
		Args: need("DEVICE"),
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the result and show it")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, args []string) error {
		ctx := cmd.Context()
		var d deviceDocument
		if err := c.call(ctx, http.MethodGet, devicePath(args[0]), nil, nil, &d.Device); err != nil {
			return unknownDevice(err)
		}
		before, err := latest(ctx, c, d.ID)
		if err != nil {
			return err
		}
		if err := c.call(ctx, http.MethodPost, devicePath(d.ID, "attest"), nil, nil, nil); err != nil {
			return unknownDevice(err)
		}
		if !wait {
			a.say("asked %s for evidence; see \"probity device show %s\"", named(d.Device), clipID(d.ID))
			return nil
		}
		return a.await(ctx, c, d, before, timeout)
	})
	return cmd
}

// recentEvents is how many events are looked through for a rejection: more do not come between two questions.
const recentEvents = "20"

// marks are the newest result of a device and its newest events, newest first.
type marks struct {
	result int64
	events []v1.Event
}

// rejection returns the newest rejection after the events of before, nil for none.
func (m marks) rejection(before marks) *v1.Event {
	for i, e := range m.events {
		if len(before.events) > 0 && e.Seq <= before.events[0].Seq {
			break
		}
		if e.Kind == rejected {
			return &m.events[i]
		}
	}
	return nil
}

func latest(ctx context.Context, c *client, id string) (marks, error) {
	var m marks
	results, err := c.results(ctx, id, 1)
	if err != nil {
		return m, err
	}
	if len(results) > 0 {
		m.result = results[0].Seq
	}
	events, err := fetch[v1.Events](ctx, c, devicePath(id, "events"), url.Values{"limit": {recentEvents}})
	m.events = events.Events
	return m, err
}

// await asks until there is a result, or a rejection, that is newer than before.
func (a *app) await(ctx context.Context, c *client, d deviceDocument, before marks, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := firstPause
	for {
		now, err := latest(ctx, c, d.ID)
		switch {
		case ctx.Err() != nil:
			return a.gaveUp(ctx, d, timeout)
		case err != nil:
			return err
		case now.result > before.result:
			return a.showNewest(ctx, c, d)
		}
		if e := now.rejection(before); e != nil {
			return &exit{exitNotTrusted, fmt.Errorf("the verifier rejected the evidence: %s", safe(e.Detail))}
		}
		select {
		case <-ctx.Done():
			return a.gaveUp(ctx, d, timeout)
		case <-time.After(pause):
		}
		pause = min(pause*3/2, lastPause)
	}
}

func (a *app) gaveUp(ctx context.Context, d deviceDocument, timeout time.Duration) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("interrupted")
	}
	return &exit{exitUnknown, fmt.Errorf("no result within %s: is the device running? see \"probity events --device %s\"",
		timeout, clipID(d.ID))}
}

func (a *app) showNewest(ctx context.Context, c *client, d deviceDocument) error {
	d, err := c.deviceWithResults(ctx, d.ID, 1)
	if err != nil {
		return err
	}
	return a.showDevice(d)
}
