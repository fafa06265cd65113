package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

const (
	topEvery    = 5 * time.Second // between two looks when the verifier tells nothing
	topAtOnce   = time.Second     // what happens within is looked at once
	topClusters = 50
	topChanges  = 50
	topDevices  = 200
)

func (a *app) topCommand() *cobra.Command {
	return &cobra.Command{
		Use: "top", Short: "Show the fleet live in the terminal", Args: need(),
		Long: `Show the fleet live in the terminal: counts by state, clusters of identical failures, and what just changed. It is looked at
anew whenever the verifier tells that something happened, and every 5 seconds.

  up, down, j, k   choose a line
  enter            a cluster's devices; a device's explanation
  esc, backspace   back
  r                look now
  q                end`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !isTerminal(a.stdin) || !isTerminal(a.stdout) {
				return &exit{exitUsage, errors.New("probity top needs a terminal; for files and pipes: probity fleet summary --watch")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return a.top(cmd.Context(), c)
		},
	}
}

// top runs until somebody ends it. What cannot work at all is said before the screen is taken.
func (a *app) top(ctx context.Context, c *client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := c.lookAtFleet(ctx)
	if first.err != nil {
		return first.err
	}
	m := newTopModel(ctx, a, c)
	m.take(first)
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithAltScreen(), tea.WithInput(a.stdin), tea.WithOutput(a.stdout))
	go c.follow(ctx, func(streamEvent) { p.Send(newsMsg{}) })
	_, err := p.Run()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
		return nil
	}
	return err
}

// fleetMsg is a look at the fleet.
type fleetMsg struct {
	at       time.Time
	summary  v1.Summary
	clusters []v1.Cluster
	changes  []v1.Change
	err      error
}

// devicesMsg is the devices of a cluster.
type devicesMsg struct {
	cluster v1.Cluster
	list    v1.Devices
	err     error
}

// pageMsg is the explanation of a device.
type pageMsg struct {
	device, text string
	err          error
}

type (
	newsMsg struct{} // the verifier tells that something happened
	lookMsg struct{} // it is time to look
)

// lookAtFleet asks for everything that the first screen shows.
func (c *client) lookAtFleet(ctx context.Context) fleetMsg {
	m := fleetMsg{at: time.Now()}
	if m.err = c.call(ctx, http.MethodGet, "/v1/fleet/summary", nil, nil, &m.summary); m.err != nil {
		return m
	}
	var clusters v1.Clusters
	query := url.Values{"limit": {strconv.Itoa(topClusters)}}
	if m.err = c.call(ctx, http.MethodGet, "/v1/fleet/clusters", query, nil, &clusters); m.err != nil {
		return m
	}
	changes, err := c.changes(ctx, topChanges)
	m.clusters, m.changes, m.err = clusters.Clusters, changes.Changes, err
	return m
}

func (c *client) devicesOf(ctx context.Context, cluster v1.Cluster) devicesMsg {
	list, err := listDevices(ctx, c, url.Values{"cluster": {cluster.ID}}, topDevices)
	return devicesMsg{cluster, list, err}
}

// explanationOf returns what "probity explain" says, as wide as the screen.
func (a *app) explanationOf(ctx context.Context, c *client, device string, columns int) pageMsg {
	e, err := explain(ctx, c, device)
	if err != nil {
		return pageMsg{device: device, err: err}
	}
	wide := *a
	wide.columns, wide.output = columns, "table"
	var text bytes.Buffer
	err = wide.writeExplanation(&text, e)
	return pageMsg{device: device, text: text.String(), err: err}
}
