package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("probity-screenshots", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "bin/screenshots", "folder for the pictures")
	testdata := flags.String("testdata", "testdata", "folder of the captured logs")
	only := flags.String("only", "", "take only pages whose name matches this expression")
	if flags.Parse(args) != nil {
		return 2
	}
	names, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintf(stderr, "probity-screenshots: -only: %v\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := play(ctx, *testdata, *out, names, stdout); err != nil {
		fmt.Fprintf(stderr, "probity-screenshots: %v\n", err)
		return 1
	}
	return 0
}

// play sets the stage, takes the pictures of the first run, lets the devices in, and takes those of every page.
func play(ctx context.Context, testdata, out string, only *regexp.Regexp, stdout io.Writer) (err error) {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	s, err := newStage(ctx, testdata, stdout)
	if s != nil {
		defer func() { s.close(err != nil) }()
	}
	if err != nil {
		return err
	}
	t, err := newTour(ctx, s, out, only)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.firstRun(); err != nil {
		return fmt.Errorf("first run: %w", err)
	}
	if err := s.enrol(ctx); err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	if err := t.everyPage(); err != nil {
		return err
	}
	s.say("%d pictures in %s", t.taken, out)
	return nil
}
