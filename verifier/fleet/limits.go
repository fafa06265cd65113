package fleet

import (
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"github.com/probity-attest/probity/proto"
)

const (
	defaultNonceLifetime = 5 * time.Minute
	// askRate and askBurst bound the challenges that one device gets by asking.
	askRate  = rate.Limit(1)
	askBurst = 20
	// rejectBurst and rejectRate bound the events, which are kept for ever, about one device's evidence that is
	// rejected for the same reason. Metrics count every rejection.
	rejectBurst = 5
	// maxWaiting bounds the devices of which evidence waits for content, and those whose questions are counted.
	maxWaiting = 10_000
	// conflictRetries is how often an outcome is computed again because the device changed meanwhile.
	conflictRetries = 4
	// maxName is the longest vendor, model and firmware version that a device record has, in bytes: as package enroll
	// keeps them.
	maxName = 200
	// maxPatterns is the most vendors, and the most models, that one key may be for.
	maxPatterns = 256
	// minKeyPrefix is the shortest start of a key's id that names it.
	minKeyPrefix = 8
	// maxProof is the largest proof of inclusion in a transparency log, in bytes.
	maxProof = 64 << 10
	// defaultAhead is how long before its time a manifest is accepted.
	defaultAhead = 30 * 24 * time.Hour
	// maxOverlap is the longest that an old and a new manifest may be valid together.
	maxOverlap = 5 * 366 * 24 * time.Hour
	// maxPlace is the longest name of a place where a digest was seen, in bytes.
	maxPlace = 300
	// maxGUIDs is the most GUIDs of one boot log that are indexed.
	maxGUIDs = 1000
	// timelineResults is how many results one page of a timeline looks at, timelineEvents how many events it has at most.
	timelineResults = 1000
	timelineEvents  = 500
	// republishPage is how many results are published again at once after a start, republishPace how long that takes at
	// least.
	republishPage = 100
	republishPace = 100 * time.Millisecond
	// maxQuery is the longest text to search for, in bytes, maxMentions the most places in documents that are told.
	maxQuery    = 256
	maxMentions = 200
	// maxApprovals is the most people whose consent a tenant may want for a manifest.
	maxApprovals = 5
	// backlogPage is how many devices or contents of the backlog are looked at before the store is asked for more;
	// backlogRetry is how long to wait where that failed, backlogRest the longest rest after a device.
	backlogPage  = 100
	backlogRetry = 30 * time.Second
	backlogRest  = time.Second
	// sightingPage is how many sightings are read at once.
	sightingPage = 1000
	// maxJobs is how many long searches are remembered, maxRunning how many run at once, jobTimeout how long one may take.
	maxJobs    = 32
	maxRunning = 2
	jobTimeout = 2 * time.Hour
	// maxListed is the most devices that a dry run or the search for outliers names.
	maxListed = 5000
	// askPage is how many devices are asked to attest in one go when what they are compared with has changed, and how many a
	// second after that.
	askPage = 1000
	// devicePage is how many devices are read at once.
	devicePage = 500
	// maxDryFindings is the most findings that a dry run tells of one device, each way.
	maxDryFindings = 16
	// maxOutlierDevices is the most devices that are named for one outlier, maxValues the most different measurements that the
	// search for outliers keeps of one group, maxParsed the most contents.
	maxOutlierDevices = 100
	maxValues         = 500_000
	maxParsed         = 1000
	// maxTogether is the most measurements of one boot event's slot that are compared as one.
	maxTogether = 4
	// outlierShare is the part of a group, one in so many, that at most has what is an outlier. smallestGroup is the fewest
	// devices of which one can be odd, strongGroup the fewest with which that says much.
	outlierShare  = 10
	smallestGroup = 3
	strongGroup   = 5
	// maxFailures is the most devices that a bulk action names that it failed with. bulkWorkers is how many it changes at once,
	// bulkRetries how often it tries one that others change too, bulkAttestRate how many it asks for evidence a second.
	maxFailures    = 100
	bulkWorkers    = 16
	bulkRetries    = 8
	bulkAttestRate = rate.Limit(500)
	// maxLabels is the most labels of a device.
	maxLabels = 64
	// maxNotices is the most things that need attention that are told of; noticeManifest, noticeKey and noticeToken are how
	// long before they end that is, of tokens that were made for lastingToken at least.
	maxNotices     = 50
	noticeManifest = 30 * 24 * time.Hour
	noticeKey      = 30 * 24 * time.Hour
	noticeToken    = 14 * 24 * time.Hour
	lastingToken   = 7 * 24 * time.Hour
	// maxDetail is the longest text of a device in an event, in bytes.
	maxDetail = proto.MaxReason
)

var rejectRate = rate.Every(10 * time.Minute)

// limits says how often something may happen, for each of many keys, in bounded memory.
type limits struct {
	rate  rate.Limit
	burst int

	mu sync.Mutex
	of map[string]*rate.Limiter
}

func newLimits(r rate.Limit, burst int) *limits {
	return &limits{rate: r, burst: burst, of: make(map[string]*rate.Limiter)}
}

func (l *limits) allow(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.of[key]
	if one == nil {
		makeRoom(l.of)
		one = rate.NewLimiter(l.rate, l.burst)
		l.of[key] = one
	}
	return one.AllowN(now, 1)
}

// makeRoom keeps a map that is about to get one more below maxWaiting: it forgets any. That grants a device a new
// burst, or makes it send its report again.
func makeRoom[V any](m map[string]V) {
	for k := range m {
		if len(m) < maxWaiting {
			return
		}
		delete(m, k)
	}
}

// clean makes a text with parts that come from a device fit for a message or an event: UTF-8 without control
// characters, not much longer than n bytes.
func clean(s string, n int) string {
	return clip(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, s), n)
}

// clip shortens a text at a character's boundary to n bytes and "...".
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + ellipsis
}

const ellipsis = "..."
