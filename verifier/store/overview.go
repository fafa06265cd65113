package store

import (
	"context"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Sort is the order of a list of devices. Devices that are equal in it come in ascending id.
type Sort string

// Orders, each ascending.
const (
	ByID       Sort = "id"
	ByLabel    Sort = "label" // bytes of the operator's label
	ByState    Sort = "state" // current state, as States has them
	ByLastSeen Sort = "last_seen"
	BySince    Sort = "since"
)

// States are all states of devices, those that ask for attention first.
var States = []result.State{
	result.Untrusted, result.Warning, result.Stale, result.Unsupported, result.NeverAttested, result.Trusted,
}

// SortKey returns what orders d in a list, for Filter.AfterKey.
func SortKey(by Sort, d *Device, now time.Time) string {
	switch by {
	case ByLabel:
		return d.Label
	case ByState:
		return string(d.Current(now))
	case ByLastSeen:
		return sortTime(d.LastSeen)
	case BySince:
		return sortTime(d.Since)
	}
	return ""
}

// sortTime returns t in microseconds since 1970, "0" for never.
func sortTime(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixMicro(), 10)
}

// List is a page of devices, with how many there are on all pages.
type List struct {
	Devices []Device
	Total   int
	More    bool // there may be more than Total
	// Stopped: few of very many devices match, and the page ends before it is full. The list goes on after After and
	// AfterKey, as Filter has them.
	Stopped         bool
	After, AfterKey string
}

// Totals counts devices.
type Totals interface {
	// List is Devices and Total at once, of one moment. With upTo it takes no longer in a large fleet than in a small one:
	// it may be Stopped.
	List(ctx context.Context, f Filter, upTo int) (List, error)
	// Total returns how many devices of its tenant a filter selects, if these are at most upTo (0: without bound); more
	// says that there are more than n, or that n is how many were counted before that took too long. Sort, After, AfterKey
	// and Limit don't matter.
	Total(ctx context.Context, f Filter, upTo int) (n int, more bool, err error)
	// Ages returns how many devices have newest evidence of an age: element i counts those that are at most upTo[i] old
	// and older than upTo[i-1], one more element those that are older than all. upTo ascends; ages are cut to minutes.
	// Devices without evidence are not counted.
	Ages(ctx context.Context, tenant string, now time.Time, upTo []time.Duration) ([]int, error)
	// Facets returns which values devices have, and how many have each.
	Facets(ctx context.Context, tenant string) (Facets, error)
}

// MaxFacets is the most values of one kind, and the most names of labels, that Facets tells.
const MaxFacets = 100

// Facets is values by which devices can be filtered, most devices first; empty values are left out.
type Facets struct {
	Vendors, Models, Firmwares, Groups []ValueCount

	Codes  []ValueCount            // codes of findings that weigh
	Labels map[string][]ValueCount // by name
}

// ValueCount is how many devices have a value.
type ValueCount struct {
	Value   string
	Devices int
}

// Trends tells how devices' states changed.
type Trends interface {
	// History returns how many devices were in each state at the end of each of a number of steps, the last of which ends
	// at or after to. What happened after now is not counted. Steps are whole minutes.
	History(ctx context.Context, tenant string, to, now time.Time, step time.Duration, points int) (History, error)
	// Moves returns how many devices changed from one state to another since a time, cut to minutes; most first. A device
	// that came or went is none.
	Moves(ctx context.Context, tenant string, since time.Time) ([]Move, error)
	// Changes returns devices' changes of state, newest first, older than before (0: from the newest). limit is as in
	// PageSize.
	Changes(ctx context.Context, tenant string, before int64, limit int) ([]Change, error)
}

// History is devices by state over time. States that nobody was in are absent.
type History struct {
	At      []time.Time // ascending
	States  map[result.State][]int
	Reports []int // appraisals in the step that ends at At
}

// Move is how many devices went from a state to another.
type Move struct {
	From, To result.State
	Devices  int
}

// Change is a device that went from a state to another.
type Change struct {
	Seq           int64 // of the event
	At            time.Time
	Device        string
	Label         string // of the device now; empty if it was removed, as Vendor and Model
	Vendor, Model string
	From, To      result.State
	Why           string // the most important finding in one line
}

// Clusters tells which findings devices share. It knows the newest result of each device.
type Clusters interface {
	// Clusters returns clusters whose findings weigh at least so much, most severe first, then largest.
	Clusters(ctx context.Context, tenant string, least result.Severity, limit int) ([]Cluster, error)
	// Cluster returns one by its id.
	Cluster(ctx context.Context, tenant, id string) (Cluster, error)
	// CountClusters returns how many Clusters there are, at most upTo.
	CountClusters(ctx context.Context, tenant string, least result.Severity, upTo int) (int, error)
}

// MaxClusterValues is the most models and groups that a Cluster tells.
const MaxClusterValues = 5

// Cluster is devices whose newest results have the same finding: one FindingKey, and it weighs with all of them or,
// waived or only reported, with none.
type Cluster struct {
	ID      string
	Finding result.Finding // of the device that showed it first; Severity is the highest that it has had
	Devices int            // at least one
	Since   time.Time      // when the first device showed it; since then there was always one
	Models  []ValueCount   // vendor and model, most devices first, at most MaxClusterValues
	Groups  []ValueCount   // likewise
}

// noted ends the id of a cluster whose finding does not weigh.
const noted = ".info"

// ClusterID returns the id of the cluster that a finding belongs to: its FindingKey in hexadecimal, with ".info" if it
// does not weigh.
func ClusterID(f *result.Finding) string {
	key := FindingKey(f)
	id := hex.EncodeToString(key[:])
	if f.Severity == result.Info {
		id += noted
	}
	return id
}
