package v1

import (
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Policy is one version of the policy document. Versions are never changed or deleted: results name them.
type Policy struct {
	Version  int64      `json:"version" doc:"from 1; 0: the built-in policy, written as a document"`
	Name     string     `json:"name" doc:"that the document gives itself"`
	Digest   string     `json:"digest" doc:"hexadecimal SHA-256 of the document"`
	InForce  bool       `json:"in_force" doc:"devices are appraised by it"`
	Author   string     `json:"author,omitempty" doc:"who set it"`
	Created  *time.Time `json:"created,omitempty"`
	Document string     `json:"document,omitempty" doc:"YAML; absent in lists"`
	Notices  []string   `json:"notices,omitempty" doc:"waivers that expired or soon will"`
}

// Policies is a page of versions, newest first, without documents.
type Policies struct {
	Policies []Policy `json:"policies"`
	Next     int64    `json:"next,omitempty" doc:"value of before for the next page"`
}

// NewPolicy puts a policy document in force.
type NewPolicy struct {
	Document string `json:"document" minLength:"1" doc:"YAML"`
	BasedOn  int64  `json:"based_on" minimum:"0" doc:"version that is in force, which this one replaces; another one in force is a conflict"`
}

// NewPolicyTest asks what a policy document would change.
type NewPolicyTest struct {
	Document string `json:"document" minLength:"1" doc:"YAML"`
	Device   string `json:"device,omitempty" maxLength:"512" doc:"id, its prefix or label; absent: all devices, in pages"`
	After    string `json:"after,omitempty" maxLength:"64" doc:"next of the page before"`
	Limit    int    `json:"limit,omitempty" minimum:"1" maximum:"200" default:"50" doc:"devices of a page"`
}

// PolicyTest says what a policy document would change, by the newest stored evidence. Nothing is switched.
type PolicyTest struct {
	Name    string         `json:"name"`
	Digest  string         `json:"digest" doc:"hexadecimal SHA-256 of the document"`
	BasedOn int64          `json:"based_on" doc:"version in force that it was compared with"`
	Notices []string       `json:"notices,omitempty" doc:"waivers that expired or soon will"`
	Devices []PolicyChange `json:"devices" doc:"all devices of the page, in ascending id"`
	Next    string         `json:"next,omitempty" doc:"value of after for the next page"`
}

// PolicyChange is what a policy document would change for one device.
type PolicyChange struct {
	ID          string       `json:"id"`
	Label       string       `json:"label,omitempty"`
	GroupBefore string       `json:"group_before" doc:"group of the document in force that matches the device"`
	GroupAfter  string       `json:"group_after" doc:"group of the tested document that matches the device"`
	Before      result.State `json:"before,omitempty" doc:"state under the policy in force; absent: see note"`
	After       result.State `json:"after,omitempty" doc:"state under the tested document; absent: see note"`
	Reasons     []string     `json:"reasons,omitempty" doc:"findings of the new state that weigh and did not before"`
	Note        string       `json:"note,omitempty" doc:"why a state cannot be told"`
}
