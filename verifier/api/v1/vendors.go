package v1

import (
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Header in which a manifest's log proof comes with it.
const LogProofHeader = "Probity-Log-Proof"

// VendorKey is a public key that may sign manifests.
type VendorKey struct {
	ID      string     `json:"id" doc:"hexadecimal SHA-256 of the key's SubjectPublicKeyInfo, as manifests name it"`
	Name    string     `json:"name" doc:"who holds it"`
	Role    string     `json:"role" enum:"vendor,lab,builder"`
	Public  string     `json:"public_key" doc:"PEM"`
	Vendors []string   `json:"vendors" doc:"patterns of the vendors that it may speak for"`
	Models  []string   `json:"models" doc:"patterns of their models"`
	From    *time.Time `json:"from,omitempty" doc:"what it signs is accepted from then on"`
	Until   *time.Time `json:"until,omitempty" doc:"and until then"`
	Added   time.Time  `json:"added"`
	Revoked *time.Time `json:"revoked,omitempty" doc:"what it signed or what was submitted from then on is void"`
	Reason  string     `json:"reason,omitempty" doc:"why it was revoked"`
}

// VendorKeys is all keys in ascending name, revoked ones included.
type VendorKeys struct {
	Keys []VendorKey `json:"keys"`
}

// KeyScope says what a key may sign. Absent times don't bound.
type KeyScope struct {
	Vendors []string   `json:"vendors" minItems:"1" maxItems:"256" doc:"patterns; * stands for any characters, ? for one"`
	Models  []string   `json:"models,omitempty" maxItems:"256" doc:"patterns; absent: any"`
	From    *time.Time `json:"from,omitempty" format:"date-time"`
	Until   *time.Time `json:"until,omitempty" format:"date-time"`
}

// NewVendorKey adds a key.
type NewVendorKey struct {
	Name   string   `json:"name" minLength:"1" maxLength:"200" doc:"who holds it; a holder may have several keys, of one role"`
	Role   string   `json:"role" enum:"vendor,lab,builder"`
	Public string   `json:"public_key" minLength:"1" maxLength:"8192" doc:"PEM, PUBLIC KEY: Ed25519, P-256 or P-384"`
	Scope  KeyScope `json:"scope"`
}

// KeyRevocation ends a key.
type KeyRevocation struct {
	At     *time.Time `json:"at,omitempty" format:"date-time" doc:"since when it is not to be trusted; absent: now; never in the future"`
	Reason string     `json:"reason" minLength:"1" maxLength:"400"`
}

// Manifest is a vendor's manifest or deny-list.
type Manifest struct {
	Name         string        `json:"id" doc:"as it calls itself"`
	Digest       string        `json:"digest" doc:"hexadecimal SHA-256 of the unsigned manifest"`
	Vendor       string        `json:"vendor,omitempty"`
	Model        string        `json:"model,omitempty"`
	Version      string        `json:"version,omitempty" doc:"of the firmware"`
	Advisory     string        `json:"advisory,omitempty" doc:"set: it is a deny-list"`
	State        string        `json:"state" enum:"submitted,active,superseded,withdrawn,void" doc:"void: none of its endorsements counts any more"`
	Counts       bool          `json:"counts" doc:"devices are compared with it now"`
	NotBefore    *time.Time    `json:"not_before,omitempty" doc:"validity that it states"`
	NotAfter     *time.Time    `json:"not_after,omitempty"`
	Size         int           `json:"size" doc:"of the unsigned manifest in bytes"`
	Submitted    time.Time     `json:"submitted"`
	From         time.Time     `json:"from" doc:"since when it counts here"`
	Until        *time.Time    `json:"until,omitempty" doc:"until when, such as the end of an overlap"`
	SupersededBy string        `json:"superseded_by,omitempty" doc:"id of the manifest that takes its place"`
	Withdrawn    *time.Time    `json:"withdrawn,omitempty"`
	Reason       string        `json:"reason,omitempty" doc:"why it was withdrawn"`
	LogProof     string        `json:"log_proof" enum:"none,unchecked" doc:"whether a proof of its inclusion in a transparency log came with it; this verifier checks none"`
	Endorsements []Endorsement `json:"endorsements"`
	Needed       int           `json:"approvals_needed,omitempty" doc:"people other than the submitter who must consent before it counts"`
	Approvals    []Approval    `json:"approvals,omitempty" doc:"oldest first"`
}

// Endorsement is one signature of a manifest.
type Endorsement struct {
	Key       string     `json:"key" doc:"id"`
	Name      string     `json:"name,omitempty" doc:"who holds the key"`
	Role      string     `json:"role,omitempty"`
	Issuer    string     `json:"issuer" doc:"who the signer says to be"`
	Submitted time.Time  `json:"submitted"`
	NotBefore *time.Time `json:"not_before,omitempty" doc:"period that the signature states"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	Actor     string     `json:"actor" doc:"who submitted it"`
	Void      string     `json:"void,omitempty" doc:"why it counts no longer"`
}

// Manifests is all manifests in ascending vendor and id.
type Manifests struct {
	Manifests []Manifest `json:"manifests"`
}

// Withdrawal declares that a manifest was wrong.
type Withdrawal struct {
	Reason string `json:"reason" minLength:"1" maxLength:"400"`
}

// Supersession lets another manifest take the place of this one.
type Supersession struct {
	By      string `json:"by" minLength:"1" maxLength:"512" doc:"id or digest of the newer manifest"`
	Overlap int64  `json:"overlap_seconds,omitempty" minimum:"0" maximum:"158112000" doc:"how long both are valid; absent: this one ends at once"`
}

// Job is long work that was begun.
type Job struct {
	ID string `json:"id"`
}

// JobProgress is how far long work is.
type JobProgress struct {
	Over   bool   `json:"over" doc:"nothing more will come"`
	Done   int    `json:"done" doc:"devices"`
	Total  int    `json:"total" doc:"devices"`
	Failed string `json:"failed,omitempty" doc:"why it failed"`
}

// DryRun is what a manifest would change. While it runs there is only its progress.
type DryRun struct {
	JobProgress
	Name       string               `json:"id,omitempty" doc:"of the manifest"`
	Vendor     string               `json:"vendor,omitempty"`
	Model      string               `json:"model,omitempty"`
	Version    string               `json:"version,omitempty"`
	Advisory   string               `json:"advisory,omitempty"`
	Supersedes []string             `json:"supersedes,omitempty" doc:"ids of the manifests that it would take the place of"`
	Notes      []string             `json:"notes,omitempty" doc:"what was assumed"`
	Devices    int                  `json:"devices" doc:"that were appraised again by their newest stored evidence"`
	Unjudged   int                  `json:"unjudged" doc:"devices without evidence that can be appraised again"`
	Now        map[result.State]int `json:"now,omitempty" doc:"devices by state, as references are now"`
	Overlap    map[result.State]int `json:"overlap,omitempty" doc:"with the manifest beside them"`
	After      map[result.State]int `json:"after,omitempty" doc:"with the manifest in the place of those that it supersedes"`
	Changes    []DryRunDevice       `json:"changes,omitempty" doc:"devices whose state or findings change, and those that cannot be judged"`
	Left       int                  `json:"left,omitempty" doc:"such devices that are not in the list"`
}

// DryRunDevice is one device of a dry run.
type DryRunDevice struct {
	ID      string           `json:"id"`
	Label   string           `json:"label,omitempty"`
	Now     result.State     `json:"now,omitempty"`
	Overlap result.State     `json:"overlap,omitempty"`
	After   result.State     `json:"after,omitempty"`
	Came    []result.Finding `json:"came,omitempty" doc:"findings that it would have and does not have now"`
	Went    []result.Finding `json:"went,omitempty" doc:"findings that it has now and would not have"`
	Problem string           `json:"problem,omitempty" doc:"why it cannot be judged"`
}

// DeniedEntry is an entry of the deny-list.
type DeniedEntry struct {
	Digests   []string `json:"digests" doc:"of one content, such as sha256:ab..."`
	Component string   `json:"component" doc:"what it is the digest of"`
	Advisory  string   `json:"advisory"`
	Note      string   `json:"note,omitempty"`
	Issuer    string   `json:"issuer" doc:"who signed it, or the operator who added it"`
	Manifest  string   `json:"manifest,omitempty" doc:"id of the signed deny-list; absent: an operator's own entry"`
	Vendor    string   `json:"vendor,omitempty" doc:"whose devices it is for; absent: anybody's"`
	Model     string   `json:"model,omitempty"`
}

// DenyList is the entries in force.
type DenyList struct {
	Entries []DeniedEntry `json:"entries"`
}

// NewDenial is an operator's own entry.
type NewDenial struct {
	Digest   string `json:"digest" minLength:"64" maxLength:"136" doc:"hexadecimal SHA-256, SHA-384 or SHA-512 of a boot event, PCR, flash region or file"`
	Advisory string `json:"advisory" minLength:"1" maxLength:"200" doc:"such as CVE-2026-12345"`
	Note     string `json:"note,omitempty" maxLength:"1000"`
}

// Sighting is a digest on a device.
type Sighting struct {
	Device string     `json:"device" doc:"id"`
	Label  string     `json:"label,omitempty"`
	Kind   string     `json:"kind" enum:"boot,pcrs,files,flash"`
	Place  string     `json:"place" doc:"where it was found"`
	First  time.Time  `json:"first" doc:"when evidence first had it"`
	Until  *time.Time `json:"until,omitempty" doc:"when evidence no longer had it; absent: it is still there"`
}

// Sightings is a page of the devices that ever had a digest, in the order in which they were first seen with it.
type Sightings struct {
	Sightings []Sighting `json:"sightings"`
	Next      int64      `json:"next,omitempty" doc:"value of after for the next page"`
}

// NewOutliers asks for devices that differ from others of their kind.
type NewOutliers struct {
	Vendor string `json:"vendor,omitempty" maxLength:"256" doc:"absent: all"`
	Model  string `json:"model,omitempty" maxLength:"256" doc:"absent: all"`
}

// Outliers is the devices that differ from others of their vendor, model and firmware version, whatever references say.
// While it runs there is only its progress.
type Outliers struct {
	JobProgress
	Devices int            `json:"devices" doc:"that were looked at"`
	Groups  []OutlierGroup `json:"groups,omitempty"`
}

// OutlierGroup is the devices of one vendor, model and firmware version.
type OutlierGroup struct {
	Vendor   string    `json:"vendor,omitempty"`
	Model    string    `json:"model,omitempty"`
	Firmware string    `json:"firmware,omitempty"`
	Devices  int       `json:"devices" doc:"with evidence"`
	Notes    []string  `json:"notes,omitempty" doc:"what could not be compared"`
	Outliers []Outlier `json:"outliers" doc:"first those that no reference covers"`
	Left     int       `json:"left,omitempty" doc:"outliers that are not in the list"`
}

// Outlier is a component of which few devices have another measurement than most.
type Outlier struct {
	Component string      `json:"component"`
	Expected  string      `json:"expected,omitempty" doc:"what most have; absent: they do not have it"`
	Observed  string      `json:"observed,omitempty" doc:"what these have; absent: they lack it"`
	Most      int         `json:"most" doc:"devices that are as expected"`
	Of        int         `json:"of" doc:"devices that were compared"`
	Count     int         `json:"count" doc:"devices that are as observed"`
	Devices   []Candidate `json:"devices" doc:"the first of them"`
	Covered   bool        `json:"covered" doc:"a reference in force knows what was observed"`
	Weak      bool        `json:"weak,omitempty" doc:"the group is so small that the others may as well be the odd ones"`
	Meaning   string      `json:"meaning"`
}

// Settings is what a tenant's operators chose.
type Settings struct {
	ManifestApprovals int  `json:"manifest_approvals" doc:"people other than the submitter who must consent before a manifest counts; those submitted before keep what held then"`
	RequireLogProof   bool `json:"require_log_proof" doc:"manifests are accepted only with a proof of their inclusion in a transparency log; this verifier knows no log, so it then accepts none"`
}

// SettingsPatch changes settings. Absent members stay as they are.
type SettingsPatch struct {
	ManifestApprovals *int  `json:"manifest_approvals,omitempty" minimum:"0" maximum:"5"`
	RequireLogProof   *bool `json:"require_log_proof,omitempty"`
}
