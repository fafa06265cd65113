package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	leastEvery = 500 * time.Millisecond // between two looks
	watchEvery = 2 * time.Second
	// watched marks commands that can be watched.
	watched = "watched"
)

// reads makes a command that shows something of the verifier one that can be watched.
func (a *app) reads(cmd *cobra.Command) *cobra.Command {
	var again bool
	var every time.Duration
	cmd.Flags().BoolVarP(&again, "watch", "w", false, "show it again whenever it changes, until interrupted")
	cmd.Flags().DurationVar(&every, "every", watchEvery,
		"how often --watch looks, beside when the verifier tells that something happened")
	mark(cmd, watched)
	once := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case !again && cmd.Flags().Changed("every"):
			return usagef(cmd, "--every is for --watch")
		case !again:
			return once(cmd, args)
		case every < leastEvery:
			return usagef(cmd, "--every %s: want at least %s", every, leastEvery)
		}
		v := &viewing{
			app: a, out: a.stdout, messages: a.stderr, title: cmd.CommandPath() + " " + strings.Join(args, " "),
			every: every,
		}
		return v.run(cmd.Context(), func() error { return once(cmd, args) })
	}
	return cmd
}

// viewing is a command that is run again and again. On a terminal each look takes the place of the one before; elsewhere
// only those are written that differ.
type viewing struct {
	app           *app
	out, messages io.Writer
	title         string
	every         time.Duration

	shown string // document or text that was written last
	looks int
}

// run looks until ctx ends and returns what the last whole look said of the exit code. Errors that may pass are shown and
// looked at again.
func (v *viewing) run(ctx context.Context, once func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := v.app.news(ctx)
	tick := time.NewTicker(v.every)
	defer tick.Stop()
	var last error
	for {
		err := v.look(once)
		if ctx.Err() != nil { // it may have been cut short
			return silent(last)
		}
		if lasting(err) {
			return err
		}
		last = err
		select {
		case <-ctx.Done():
			return silent(err)
		case <-tick.C:
		case <-news:
			if !pause(ctx, leastEvery) { // what happens at once is looked at once
				return silent(err)
			}
		}
	}
}

// silent returns an error's exit code if the output said it all, and otherwise nothing.
func silent(err error) error {
	var e *exit
	if errors.As(err, &e) && e.cause == nil {
		return err
	}
	return nil
}

// lasting reports whether looking again is useless.
func lasting(err error) bool {
	switch exitCode(err) {
	case exitUsage, exitUnauthorised:
		return true
	}
	return false
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// look runs the command once and writes what it shows.
func (v *viewing) look(once func() error) error {
	var out, messages bytes.Buffer
	v.app.stdout, v.app.stderr, v.app.document = &out, &messages, ""
	err := once()
	v.app.stdout, v.app.stderr = v.out, v.messages
	if lasting(err) {
		return err
	}
	var e *exit
	if err != nil && (!errors.As(err, &e) || e.cause != nil) {
		fmt.Fprintln(&messages, "probity: "+safeLines(err.Error()))
	}
	v.looks++
	if isTerminal(v.out) {
		v.redraw(out.String() + messages.String())
		return err
	}
	v.append(out.String(), messages.String())
	return err
}

// append writes a look that differs from the one before. Ages alone make no difference.
func (v *viewing) append(out, messages string) {
	now := v.app.document + messages
	if v.looks > 1 && now == v.shown {
		return
	}
	v.shown = now
	_, _ = io.WriteString(v.messages, messages)
	if v.looks > 1 && out != "" {
		switch v.app.output {
		case "json": // documents follow each other
		case "yaml":
			out = "---\n" + out
		default:
			out = "\n" + out
		}
	}
	_, _ = io.WriteString(v.out, out)
}

// redraw writes a look over the one before (ECMA-48: cursor position, erase in line, erase in page; DEC: autowrap).
func (v *viewing) redraw(text string) {
	width, height := terminalSize(v.out)
	head := fmt.Sprintf("%s   %s   ctrl-c ends", time.Now().Format(time.TimeOnly), strings.TrimSpace(v.title))
	lines := append([]string{v.app.paint(clip(safe(head), max(width, leastWidth)), bold), ""},
		strings.Split(strings.TrimSuffix(text, "\n"), "\n")...)
	if left := len(lines) - (height - 1); height > 3 && left > 0 {
		lines = append(lines[:height-2], fmt.Sprintf("... and %s: make the window larger", count(left+1, "more line")))
	}
	var b strings.Builder
	if v.looks == 1 {
		b.WriteString("\x1b[2J")
	}
	b.WriteString("\x1b[?7l\x1b[H") // long lines end at the edge
	for _, l := range lines {
		b.WriteString(l + "\x1b[K\n")
	}
	b.WriteString("\x1b[?7h\x1b[J")
	_, _ = io.WriteString(v.out, b.String())
}
