package api

import (
	"time"

	"github.com/probity-attest/probity/firmware/manifest"
	"github.com/probity-attest/probity/verifier/policy"
)

// Limits on what clients may ask and how long they may take.
const (
	maxBody       = 16 << 10 // bytes of a request body, except for largeBodies
	maxHeader     = 16 << 10 // bytes of a request's header
	maxPage       = 500      // entries of one page
	maxCandidates = 10       // devices named in the answer to an ambiguous name
	maxProblems   = 8        // things wrong with a request that one answer names
	maxText       = 200      // bytes of one such text
	maxLabels     = 64       // labels of a device
	maxLabel      = 128      // bytes of a label, its name, or a group
	saveAttempts  = 8        // tries of a write that others race with
	maxConns      = 1024     // connections at once
	maxConnsHost  = 64       // connections at once from one address
	refusalsLog   = 5        // refused credentials a second that the log tells of
)

// largeBodies are the routes that take more than maxBody, in bytes.
var largeBodies = map[string]int64{
	"PUT /v1/policy":       4 * policy.MaxDocument, // JSON escapes line ends and quotes
	"POST /v1/policy/test": 4 * policy.MaxDocument,
	"POST /v1/manifests":   manifest.MaxSize,
	"POST /v1/dry-runs":    manifest.MaxSize,
}

// bodyLimit returns the most bytes of a request body that a route takes.
func bodyLimit(route string) int64 {
	return max(maxBody, largeBodies[route])
}

// uploadRate is how fast a large body must come, in bytes a second.
const uploadRate = 256 << 10

// uploadTime returns how much longer than others a route waits for its body.
func uploadTime(route string) time.Duration {
	return time.Duration(largeBodies[route]/uploadRate) * time.Second
}

// A client that takes longer is cut off: none may hold what others need.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	handleTimeout     = 25 * time.Second // of one request, once it is read
	writeTimeout      = 45 * time.Second // from the end of the header to the end of the answer
	idleTimeout       = 60 * time.Second
	shutdownTimeout   = 10 * time.Second // for requests that run when the server stops

	healthTimeout = 2 * time.Second
	healthFresh   = time.Second // how long an answer of /healthz serves for others, which asks nobody who they are
)
