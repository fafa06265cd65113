package api

import "time"

// Limits on what clients may ask and how long they may take.
const (
	maxBody       = 16 << 10 // bytes of a request body
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
