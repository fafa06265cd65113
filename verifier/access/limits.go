package access

import "time"

// Sizes of what people type, in bytes.
const (
	maxName         = 64
	minPassword     = 12   // characters
	distinctOnes    = 5    // different characters of a password, at least
	maxPassword     = 1024 // what is longer is not hashed
	maxSubject      = 512
	maxVendors      = 64  // patterns of a vendor's scope
	maxVendor       = 256 // of one pattern
	maxCertificates = 16
	maxCookie       = 2048 // of what a browser keeps while its user is at an OpenID provider
	maxProviders    = 16

	maxProviderAnswer = 1 << 20 // of what an OpenID provider answers
)

// How long things last.
const (
	defaultLifetime = 12 * time.Hour   // of a session
	defaultIdle     = 2 * time.Hour    // of a session that is not used
	touchEvery      = 5 * time.Minute  // how exactly the last use of a session is known, at most
	noteEvery       = time.Hour        // how exactly the last sign-in with a certificate is known
	roundTrip       = 10 * time.Minute // to an OpenID provider and back, with whatever it asks its users
	providerTimeout = 10 * time.Second // of one question to an OpenID provider
	providerRetry   = 30 * time.Second // until one that did not answer is asked again what it is
)

// How often signing in may fail: a burst, and then one attempt each such time. An address is one of IPv4, or a /64 of IPv6.
const (
	addressBurst = 20
	addressEvery = 10 * time.Second
	nameBurst    = 30
	nameEvery    = 20 * time.Second
	maxBuckets   = 20_000 // addresses, and names, that are remembered; all others share one bucket
)

// defaultCost is that of the OWASP Password Storage Cheat Sheet, section Argon2id, first configuration.
var defaultCost = Cost{Memory: 47104, Time: 1, Threads: 1}

// Most that the parameters of a stored hash may cost: a damaged store must not exhaust the memory.
var maxCost = Cost{Memory: 1 << 20, Time: 64, Threads: 64}
