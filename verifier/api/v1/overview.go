package v1

import (
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Summary is the fleet at one moment.
type Summary struct {
	At       time.Time            `json:"at"`
	Total    int                  `json:"total"`
	States   map[result.State]int `json:"states" doc:"never merged"`
	Pending  int                  `json:"pending" doc:"devices that wait for an operator's approval"`
	Ages     []AgeBucket          `json:"ages" doc:"devices by the age of their newest evidence, youngest first"`
	Moves    []Move               `json:"moves" doc:"changes of state in the last 24 hours, most first"`
	Clusters int                  `json:"clusters" doc:"clusters of identical failures"`
	Notices  []Notice             `json:"notices" doc:"what needs attention soon: manifests, waivers, keys and certificates that expire, manifests that wait for approval"`
}

// AgeBucket is how many devices have evidence of an age.
type AgeBucket struct {
	UpTo    int64 `json:"up_to_seconds,omitempty" doc:"absent: older than all others"`
	Devices int   `json:"devices"`
}

// Move is how many devices went from a state to another.
type Move struct {
	From    result.State `json:"from"`
	To      result.State `json:"to"`
	Devices int          `json:"devices"`
}

// Notice is something that needs attention soon.
type Notice struct {
	Kind   string     `json:"kind" enum:"manifest,waiver,vendor-key,approval,pending,token"`
	Object string     `json:"object,omitempty" doc:"id of what it is about; absent: devices, or the policy"`
	Text   string     `json:"text"`
	At     *time.Time `json:"at,omitempty" doc:"when it happens"`
}

// Cluster is devices whose newest results have the same finding: same code, component and observed value.
type Cluster struct {
	ID        string          `json:"id" doc:"hexadecimal, and .info where the finding does not weigh; value of the parameter cluster of the list of devices"`
	Code      string          `json:"code"`
	Severity  result.Severity `json:"severity"`
	Submod    result.Submod   `json:"submod"`
	Component string          `json:"component"`
	Expected  string          `json:"expected,omitempty"`
	Observed  string          `json:"observed,omitempty"`
	Nearest   string          `json:"nearest,omitempty"`
	Meaning   string          `json:"meaning"`
	Action    string          `json:"action"`
	Devices   int             `json:"devices"`
	Since     time.Time       `json:"since" doc:"when it was first shown; since then some device always showed it"`
	Models    []ValueCount    `json:"models" doc:"vendor and model, most devices first, at most 5"`
	Groups    []ValueCount    `json:"groups" doc:"most devices first, at most 5"`
}

// ValueCount is how many devices have a value.
type ValueCount struct {
	Value   string `json:"value"`
	Devices int    `json:"devices"`
}

// Clusters is clusters of identical failures, most severe and largest first.
type Clusters struct {
	Clusters []Cluster `json:"clusters"`
	More     bool      `json:"more,omitempty" doc:"there are more than limit"`
}

// History is how many devices were in each state over time.
type History struct {
	From   time.Time              `json:"from"`
	Step   int64                  `json:"step_seconds"`
	At     []int64                `json:"at" doc:"Unix time of each point in seconds; points are a step apart"`
	States map[result.State][]int `json:"states" doc:"devices in the state at each point"`
	// Reports is aligned with At.
	Reports []int `json:"reports" doc:"appraisals in the step that ends at each point"`
}

// Change is a device that went from a state to another.
type Change struct {
	Seq    int64        `json:"seq"`
	At     time.Time    `json:"at"`
	Device string       `json:"device"`
	Label  string       `json:"label,omitempty"`
	Model  string       `json:"model,omitempty"`
	From   result.State `json:"from,omitempty"`
	To     result.State `json:"to"`
	Why    string       `json:"why,omitempty" doc:"the most important finding in one line"`
}

// Changes is a page of changes of state, newest first.
type Changes struct {
	Changes []Change `json:"changes"`
	Next    int64    `json:"next,omitempty" doc:"value of before for the next page"`
}

// Facets is the values by which devices can be filtered, most devices first, at most 100 of each.
type Facets struct {
	Vendors   []ValueCount            `json:"vendors"`
	Models    []ValueCount            `json:"models"`
	Firmwares []ValueCount            `json:"firmwares"`
	Groups    []ValueCount            `json:"groups"`
	Codes     []ValueCount            `json:"findings" doc:"codes of findings that weigh"`
	Labels    map[string][]ValueCount `json:"labels" doc:"values of each label's name, such as jurisdiction"`
}

// DeviceFilter selects devices: the parameters of the list of devices, for bulk actions and exports.
type DeviceFilter struct {
	State    []result.State    `json:"state,omitempty" maxItems:"6"`
	Status   string            `json:"status,omitempty" maxLength:"16"`
	Vendor   string            `json:"vendor,omitempty" maxLength:"256"`
	Model    string            `json:"model,omitempty" maxLength:"256"`
	Firmware string            `json:"firmware,omitempty" maxLength:"256"`
	Group    string            `json:"group,omitempty" maxLength:"128"`
	Level    string            `json:"level,omitempty" maxLength:"16"`
	Finding  string            `json:"finding,omitempty" maxLength:"64" doc:"code of a finding of the newest result"`
	Cluster  string            `json:"cluster,omitempty" maxLength:"40" doc:"id of a cluster"`
	Digest   string            `json:"digest,omitempty" maxLength:"136" doc:"SHA-256, SHA-384 or SHA-512 that the device has now, hexadecimal"`
	Labels   map[string]string `json:"labels,omitempty" maxProperties:"8"`
	Query    string            `json:"q,omitempty" maxLength:"256" doc:"part of label, model, vendor or id"`
}

// BulkAction does the same with many devices: those in Devices, or all that Filter selects.
type BulkAction struct {
	Action  string            `json:"action" enum:"label,approve,attest,remove"`
	Devices []string          `json:"devices,omitempty" maxItems:"1000" doc:"full ids"`
	Filter  *DeviceFilter     `json:"filter,omitempty"`
	Group   *string           `json:"group,omitempty" maxLength:"128" doc:"of label: group; empty removes it"`
	Labels  map[string]string `json:"labels,omitempty" maxProperties:"64" doc:"of label: merged into the labels; an empty value removes one"`
	DryRun  bool              `json:"dry_run,omitempty" doc:"only count"`
	Quick   bool              `json:"quick,omitempty" doc:"of dry_run: end early where counting takes long in a large fleet; total_more says so"`
	Expect  *int              `json:"expect,omitempty" doc:"devices that the filter selected when it was looked at; another number now is a conflict"`
}

// Bulk is how far a bulk action is.
type Bulk struct {
	ID string `json:"id,omitempty" doc:"under which its progress is asked for; absent in a dry run, whose total is the answer"`
	JobProgress
	TotalMore bool          `json:"total_more,omitempty" doc:"of a quick dry run: there may be more than total"`
	Failures  []BulkFailure `json:"failures" doc:"at most 100"`
	Left      int           `json:"left,omitempty" doc:"failures that are not in the list"`
}

// BulkFailure is a device that an action could not be done with.
type BulkFailure struct {
	Device string `json:"device"`
	Label  string `json:"label,omitempty"`
	Why    string `json:"why"`
}
