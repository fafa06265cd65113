package web

import "time"

// Limits on what browsers send and on what the API answers to pages. The API has its own limits on top of these.
const (
	maxForm     = 1 << 20  // bytes of a form without files
	maxUpload   = 72 << 20 // bytes of a form with a file: a manifest (see package api) and the form around it
	maxMemory   = 4 << 20  // bytes of it that stay in memory
	maxAnswer   = 32 << 20 // bytes of an answer of the API that a page is made of
	maxNotice   = 600      // bytes of a notice that the next page shows
	maxNext     = 2048     // bytes of an address to return to
	maxSelected = 1000     // devices that a form names one by one, as v1.BulkAction has it

	maxUploads     = 16        // manifests that were tried out and wait to be submitted
	maxHeld        = 128 << 20 // bytes of them all, save for the newest
	maxKeyFile     = 8 << 10   // bytes of a file with a public key
	policyTestPage = 200       // devices that a policy is tested with in one request
	maxPolicyTest  = 2000      // devices that one page tests a policy with
)

const (
	noticeLifetime = time.Minute
	uploadLifetime = time.Hour // how long a manifest waits to be submitted
	themeLifetime  = 365 * 24 * time.Hour
	// enrolmentLifetime and enrolmentUses are of the token that the first-run page makes.
	enrolmentLifetime = 24 * time.Hour
	enrolmentUses     = 100
	maxLines          = 1000 // first-run tokens that are remembered until they expire
)
