// Command probity is the tool of operators, vendors and auditors: it asks verifiers about devices, shows the fleet live, and
// changes what its user's role may change; offline it makes, signs and reads manifests, looks into firmware images, and explains boot event
// logs and IMA lists.
//
// Commands are a noun and a verb. Data goes to stdout as a table for people, or as JSON or YAML with -o; messages go to
// stderr. What shows something can be watched (watch.go), what changes something can be tried out (write.go). What other
// machines say of themselves is escaped before it reaches a terminal. Exit codes: see errors.go. Which verifier is asked:
// see settings.go and contextfile.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(exitCode(err))
}
