package main

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (a *app) eventsCommand() *cobra.Command {
	var device string
	var limit int
	cmd := &cobra.Command{Use: "events", Short: "List what happened, newest first", Args: need()}
	cmd.Flags().StringVar(&device, "device", "", "only of this device: label, or id or its start")
	limitFlag(cmd, &limit, 100, "most events to list")
	cmd.RunE = a.asks(func(cmd *cobra.Command, c *client, _ []string) error {
		path := "/v1/events"
		if device != "" {
			path = devicePath(device, "events")
		}
		list, err := listEvents(cmd.Context(), c, path, limit)
		if err != nil {
			return err
		}
		return a.print(list, func(w io.Writer) error { return a.writeEvents(w, list.Events) })
	})
	_ = cmd.RegisterFlagCompletionFunc("device", a.completeDevices)
	return a.reads(cmd)
}

// listEvents collects pages up to limit events.
func listEvents(ctx context.Context, c *client, path string, limit int) (v1.Events, error) {
	all := v1.Events{Events: []v1.Event{}}
	query := url.Values{}
	for {
		query.Set("limit", strconv.Itoa(min(pageSize, limit-len(all.Events))))
		page, err := fetch[v1.Events](ctx, c, path, query)
		if err != nil {
			return all, err
		}
		all.Events = append(all.Events, page.Events...)
		all.Next = page.Next
		if page.Next == 0 || len(page.Events) == 0 || len(all.Events) >= limit {
			return all, nil
		}
		query.Set("before", strconv.FormatInt(page.Next, 10))
	}
}

func (a *app) writeEvents(w io.Writer, events []v1.Event) error {
	t := a.table("AT", "KIND", "DEVICE", "ACTOR", "DETAIL")
	for _, e := range events {
		t.add(stamp(&e.At), e.Kind, a.shownID(e.Device), a.actor(e.Actor), e.Detail)
	}
	return t.write(w)
}
