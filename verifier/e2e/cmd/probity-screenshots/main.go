// Command probity-screenshots writes pictures of the dashboard of a running verifier: a real one, set up in the browser
// as a person does it, with virtual devices of which some are bad. Every page is taken at the size of a desktop and of a
// phone, in light and in dark colours.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
