// Command probity-agent reports from a device what it booted and runs, signed by its TPM, to a verifier.
//
// Exit codes: 0 success, and with run --once the verdict "trusted"; 1 failure; 2 wrong usage or configuration;
// with run --once also 3, the verdict is "warning" or "untrusted", and 5, there is no verdict on the device's state
// ("unsupported", "stale", "never-attested" or one that this version does not know).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr), os.Stderr))
}
