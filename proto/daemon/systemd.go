package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// Ready tells systemd that start-up is complete (sd_notify(3), READY=1). Without systemd it does nothing, as do the
// other functions here; they fail only where a notification socket is named and does not take the message.
func Ready() error { return notify(systemd.SdNotifyReady) }

// Stopping tells systemd that shutdown has begun (STOPPING=1).
func Stopping() error { return notify(systemd.SdNotifyStopping) }

// Status tells systemd in one line what the daemon is doing, as `systemctl status` shows it.
func Status(line string) error {
	return notify("STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' { // a newline would begin another assignment
			return ' '
		}
		return r
	}, line))
}

// Watchdog keeps systemd's watchdog quiet (WatchdogSec=) while healthy returns nil, and returns when ctx ends. It asks
// twice in each watchdog interval and gives every answer half of it; an unhealthy daemon is left to be restarted.
// Where systemd wants no watchdog, Watchdog only waits for ctx.
func Watchdog(ctx context.Context, healthy func(context.Context) error) error {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("systemd watchdog: %w", err)
	}
	if interval <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		if err := beat(ctx, interval/2, healthy); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func beat(ctx context.Context, limit time.Duration, healthy func(context.Context) error) error {
	ask, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := healthy(ask); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return Status("unhealthy: " + err.Error())
	}
	return notify(systemd.SdNotifyWatchdog)
}

func notify(state string) error {
	if _, err := systemd.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
