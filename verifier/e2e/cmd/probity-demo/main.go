// Command probity-demo shows Probity's main job with the real programs: one verifier, some virtual devices, their verdicts.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
