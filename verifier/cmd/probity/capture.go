package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// captureFlags are the flags of device capture.
type captureFlags struct {
	region, offset, length, out string
	wait, force                 bool
	timeout                     time.Duration
}

func (a *app) deviceCapture() *cobra.Command {
	var f captureFlags
	cmd := &cobra.Command{
		Use: "capture DEVICE --region REGION", Short: "Ask a device for the raw bytes of its flash memory",
		Long: `Ask a device for the raw bytes of a region of its flash memory, at most 64 MiB at once.

They come only if the charter of the device's owner lists "flash-content" or "flash-content.REGION": a verifier cannot
widen it, and without a charter nothing comes. The device signs what it sends. What it sends is what its running system
reads: a device that lies about its flash memory lies here, too. Compare the file with the vendor's image:
  probity image diff FILE VENDOR-IMAGE`,
		Args: need("DEVICE"),
	}
	cmd.Flags().StringVar(&f.region, "region", "", "flash region, as the device names it: see probity device show")
	cmd.Flags().StringVar(&f.offset, "offset", "0", "first byte in the region, such as 0x10000")
	cmd.Flags().StringVar(&f.length, "length", "", "bytes; none: to the end of the region")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until the bytes are here")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Minute, "how long to wait")
	cmd.Flags().StringVarP(&f.out, "out", "O", "", "wait, and write the bytes to this `FILE`")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace FILE if it exists")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, err := f.request()
		if err != nil {
			return usagef(cmd, "%v", err)
		}
		if err := mayWrite(f.out, f.force); err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var made v1.Capture
		if err := c.call(cmd.Context(), http.MethodPost, devicePath(args[0], "captures"), nil, in, &made); err != nil {
			return unknownDevice(err)
		}
		if !f.wait && f.out == "" {
			a.say("asked for it; see \"probity device captures %s %d\"", clipID(made.Device), made.ID)
			return a.print(made, func(w io.Writer) error { return a.writeCaptures(w, []v1.Capture{made}) })
		}
		ended, err := a.awaitCapture(cmd.Context(), c, made, f.timeout)
		if err != nil {
			return err
		}
		return a.takeCapture(cmd.Context(), c, ended, f.out, f.force)
	}
	return cmd
}

func (f *captureFlags) request() (*v1.NewCapture, error) {
	if f.region == "" {
		return nil, errors.New("--region is missing")
	}
	in := &v1.NewCapture{Region: f.region}
	var err error
	if in.Offset, err = strconv.ParseUint(f.offset, 0, 64); err != nil {
		return nil, fmt.Errorf("--offset %q: want a number of bytes", f.offset)
	}
	if f.length == "" {
		return in, nil
	}
	n, err := strconv.ParseUint(f.length, 0, 32)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("--length %q: want a number of bytes, more than 0", f.length)
	}
	in.Length = uint32(n)
	return in, nil
}

// mayWrite refuses to replace a file before anything is asked of a device.
func mayWrite(name string, force bool) error {
	if name == "" || force {
		return nil
	}
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s exists: choose another name, or give --force", name)
	}
	return nil
}

func (a *app) deviceCaptures() *cobra.Command {
	var out string
	var force, remove bool
	cmd := &cobra.Command{
		Use: "captures DEVICE [NUMBER]", Short: "List what was captured of a device's flash memory, get it, remove it",
		Long: `List what was captured of a device's flash memory, newest first. With NUMBER show one, with -O also write its bytes to a
file, with --remove delete it, or give up one that still runs.`,
		Args: need("DEVICE", "[NUMBER]"),
	}
	cmd.Flags().StringVarP(&out, "out", "O", "", "write the bytes to this `FILE`")
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	cmd.Flags().BoolVar(&remove, "remove", false, "delete it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && (out != "" || remove) {
			return usagef(cmd, "NUMBER is missing: which one?")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if len(args) == 1 {
			return unknownDevice(show(a, cmd, devicePath(args[0], "captures"), nil, func(w io.Writer, list *v1.Captures) error {
				return a.writeCaptures(w, list.Captures)
			}))
		}
		if n, err := strconv.ParseInt(args[1], 10, 64); err != nil || n < 1 {
			return usagef(cmd, "%q: want the number of a capture", args[1])
		}
		if remove {
			if err := c.call(ctx, http.MethodDelete, devicePath(args[0], "captures", args[1]), nil, nil, nil); err != nil {
				return unknownCapture(err)
			}
			a.say("removed capture %s", args[1])
			return nil
		}
		if err := mayWrite(out, force); err != nil {
			return err
		}
		one, err := fetch[v1.Capture](ctx, c, devicePath(args[0], "captures", args[1]), nil)
		if err != nil {
			return unknownCapture(err)
		}
		return a.takeCapture(ctx, c, one, out, force)
	}
	return cmd
}

// unknownCapture tells a capture that is not there from a device that is not there.
func unknownCapture(err error) error {
	var p *v1.Problem
	if errors.As(err, &p) && strings.Contains(p.Detail, "capture") {
		return err
	}
	return unknownDevice(err)
}

// isOpen reports whether more may come.
func isOpen(c v1.Capture) bool { return c.State == "asked" || c.State == "running" }

// awaitCapture asks until a capture has ended.
func (a *app) awaitCapture(ctx context.Context, c *client, made v1.Capture, timeout time.Duration) (v1.Capture, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	shown := a.meter()
	defer shown.end()
	pause := firstPause
	for now := made; ; {
		if !isOpen(now) {
			return now, nil
		}
		shown.at(captureWait(now), uint64(now.Held), uint64(now.Size))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(pause*3/2, lastPause)
		next, err := fetch[v1.Capture](ctx, c, devicePath(now.Device, "captures", strconv.FormatInt(now.ID, 10)), nil)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return now, errors.New("interrupted; the capture goes on: probity device captures " + clipID(now.Device))
		case ctx.Err() != nil:
			why := safe(cmp.Or(now.Reason, "is the device running?"))
			return now, &exit{exitUnknown, fmt.Errorf("not complete within %s: %d of %d bytes: %s; it goes on: probity device captures %s",
				timeout, now.Held, now.Size, why, clipID(now.Device))}
		case err != nil:
			return now, err
		}
		now = next
	}
}

func captureWait(c v1.Capture) string {
	if c.Size == 0 {
		return "waiting for the device"
	}
	return c.Region
}

// takeCapture shows a capture and writes its bytes to a file. One without bytes that can be relied on is an error.
func (a *app) takeCapture(ctx context.Context, c *client, one v1.Capture, name string, force bool) error {
	if err := a.print(one, func(w io.Writer) error { return a.writeCaptures(w, []v1.Capture{one}) }); err != nil {
		return err
	}
	switch one.State {
	case "done":
	case "refused":
		return fmt.Errorf("the device refuses: %s", safe(one.Reason))
	case "failed":
		return fmt.Errorf("the capture failed: %s", safe(one.Reason))
	default:
		if name != "" {
			return &exit{exitUnknown, errors.New("the capture has not ended: there is nothing to write yet")}
		}
		return nil
	}
	if one.Reported == "differs" {
		a.say("warning: these bytes do not have the digest that the device reported before: the region changed since, or one of the two is a lie")
	}
	if name == "" {
		return nil
	}
	if err := a.saveCapture(ctx, c, one, name, force); err != nil {
		return err
	}
	a.say("wrote %d bytes to %s; compare: probity image diff %s VENDOR-IMAGE", one.Size, name, name)
	return nil
}

func (a *app) writeCaptures(w io.Writer, list []v1.Capture) error {
	t := a.table("CAPTURE", "REGION", "OFFSET", "BYTES", "STATE", "REPORTED", "DIGEST", "ASKED", "REASON")
	for _, c := range list {
		colour := ""
		if c.State == "refused" || c.State == "failed" {
			colour = red
		}
		reported := ""
		if c.Reported == "differs" {
			reported = red
		}
		bytes := strconv.FormatUint(uint64(c.Held), 10)
		if c.Held < c.Size {
			bytes += " of " + strconv.FormatUint(uint64(c.Size), 10)
		}
		t.rows = append(t.rows, []cell{
			{text: strconv.FormatInt(c.ID, 10)},
			{text: c.Region},
			{text: fmt.Sprintf("%#x", c.Offset)},
			{text: bytes},
			{text: c.State, colour: colour},
			{text: c.Reported, colour: reported},
			{text: clipDigest(c.Digest)},
			{text: stamp(&c.Created)},
			{text: c.Reason},
		})
	}
	return t.write(w)
}
