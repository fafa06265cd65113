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
	minDigest     = 8        // characters of a digest that name a manifest
	maxText       = 200      // bytes of one such text
	maxLabels     = 64       // labels of a device
	maxLabel      = 128      // bytes of a label, its name, or a group
	maxTotal      = 1000     // devices of a list, and clusters, that are counted
	exportPage    = 1000     // devices that an export reads at once
	saveAttempts  = 8        // tries of a write that others race with
	maxConns      = 1024     // connections at once
	maxConnsHost  = 64       // connections at once from one address
	refusalsLog   = 5        // refused credentials a second that the log tells of
)

// maxHistory is how far back the history of devices' states is told.
const maxHistory = 400 * 24 * time.Hour

// Limits of the audit log.
const (
	auditWindow  = 5 * time.Minute // for which one entry stands for reads and refusals like it
	auditTimeout = 10 * time.Second
	maxAuditText = 1024  // bytes of one text of an entry
	maxRepeats   = 5_000 // different reads and refusals that are counted at a time
	auditPage    = 500   // entries that an export reads at once
)

// Limits on what a tenant may ask to be told.
const (
	maxAlertRules    = 100
	maxAlertChannels = 32
)

// Limits on what is remembered of clients.
const (
	maxBuckets      = 20_000           // clients whose requests are counted at a time
	welcomeTime     = 10 * time.Minute // for which a good credential is known without a look into the store
	maxTagged       = 1 << 20          // bytes of an answer that gets an entity tag
	maxTags         = 64               // entity tags of one condition that are looked at
	minRequestKey   = 16               // characters of an Idempotency-Key
	maxRequestKey   = 128
	maxAnswer       = 256 << 10      // bytes of an answer that is kept for a repetition
	requestLifetime = 24 * time.Hour // for which writes with an Idempotency-Key are remembered
)

// Limits on the stream of events.
const (
	maxStreams     = 1000                   // open streams, of all
	maxStreamsEach = 32                     // of one principal
	streamQueue    = 64                     // events that may wait for one client
	streamPage     = 500                    // events that are read at once
	streamBurst    = 50                     // devices that one look may tell of one by one
	maxReplay      = 2000                   // events that a client who comes back is told
	streamPace     = 250 * time.Millisecond // between two looks into the store
	streamBeat     = 15 * time.Second       // between two signs of life; then the credential is checked again too
	streamWrite    = 10 * time.Second       // that one write to a client may take
)

// largeBodies are the routes that take more than maxBody, in bytes.
var largeBodies = map[string]int64{
	"PUT /v1/policy":       4 * policy.MaxDocument, // JSON escapes line ends and quotes
	"POST /v1/policy/test": 4 * policy.MaxDocument,
	"POST /v1/manifests":   manifest.MaxSize,
	"POST /v1/dry-runs":    manifest.MaxSize,
	bulkRoute:              128 << 10, // 1,000 ids
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
