// Command probity-bench measures what Probity is judged by, each beside a peer or a physical limit in the same run.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
