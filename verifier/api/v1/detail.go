package v1

import (
	"time"

	"github.com/probity-attest/probity/verifier/result"
)

// Standing is how something measured stands to the reference values that counted when it was appraised, as far as they
// are still known.
type Standing string

// Standings.
const (
	Matched    Standing = "matched"    // a reference value has it
	Unknown    Standing = "unknown"    // reference values cover the place and do not have it
	Changed    Standing = "changed"    // of flash memory: reference values state another content
	Missing    Standing = "missing"    // reference values require it and it was not measured
	Denied     Standing = "denied"     // on a deny-list
	Uncovered  Standing = "uncovered"  // no reference value speaks of it
	Explained  Standing = "explained"  // fixed by the standard, or follows from the rest: separators, boot_aggregate
	Excluded   Standing = "excluded"   // the signed reference leaves it out
	Unreadable Standing = "unreadable" // the device could not read it
)

// Boot is how a device booted: PCR by PCR, each event against its reference.
type Boot struct {
	Result     int64     `json:"result" doc:"seq of the result that this explains"`
	At         time.Time `json:"at"`
	Bank       string    `json:"bank"`
	Log        string    `json:"boot_log,omitempty" doc:"hexadecimal SHA-256 of the boot log; absent: there is none"`
	NoLog      string    `json:"no_log,omitempty" doc:"why there is none"`
	References []string  `json:"references" doc:"names of the reference values used"`
	PCRs       []BootPCR `json:"pcrs" doc:"quoted ones in ascending index"`
}

// BootPCR is one PCR.
type BootPCR struct {
	Index    int         `json:"index"`
	Name     string      `json:"name" doc:"what is measured into it, such as: firmware code"`
	Value    string      `json:"value" doc:"hexadecimal, as quoted"`
	Standing Standing    `json:"standing"`
	Replayed bool        `json:"replayed" doc:"the events explain the value"`
	Events   []BootEvent `json:"events" doc:"in the order of measurement, then those that are missing"`
	Left     int         `json:"left,omitempty" doc:"events that are not in the list"`
}

// BootEvent is one event of the boot log, or one that a reference requires.
type BootEvent struct {
	Number    int      `json:"number,omitempty" doc:"in the log, from 1; absent: missing"`
	Type      string   `json:"type" doc:"as the log claims, such as EV_EFI_BOOT_SERVICES_APPLICATION"`
	Digest    string   `json:"digest,omitempty" doc:"hexadecimal, in the bank"`
	Text      string   `json:"text,omitempty" doc:"what was measured, as far as the log proves or claims it"`
	Proven    bool     `json:"proven" doc:"the text hashes to the digest; otherwise it is only claimed"`
	Standing  Standing `json:"standing"`
	Expected  string   `json:"expected,omitempty" doc:"hexadecimal digest that the reference has in its place"`
	Reference string   `json:"reference,omitempty" doc:"name of the reference value that has it, or nearly has it"`
}

// Files is what the IMA list says of programs and libraries, grouped by file.
type Files struct {
	Result  int64          `json:"result"`
	Entries uint64         `json:"entries" doc:"measured since boot"`
	Counts  map[string]int `json:"counts" doc:"files by standing, and violations, whatever the list is restricted to"`
	Files   []File         `json:"files" doc:"those that weigh first, then in the order of measurement"`
	Next    string         `json:"next,omitempty" doc:"value of after for the next page"`
	NoList  string         `json:"no_list,omitempty" doc:"why there is no list"`
}

// File is one file with everything that was measured of it.
type File struct {
	Path       string   `json:"path"`
	Digests    []string `json:"digests" doc:"such as sha256:ab..., in the order of measurement; at most 16"`
	Standing   Standing `json:"standing"`
	Expected   string   `json:"expected,omitempty" doc:"hexadecimal digest that the reference has at this path, or the path that it has this digest at"`
	Reference  string   `json:"reference,omitempty"`
	Violations int      `json:"violations,omitempty" doc:"times that it was written while it was measured, or the like"`
	Entries    int      `json:"entries"`
}

// Flash is a map of a device's flash memory.
type Flash struct {
	Result int64  `json:"result"`
	Age    int64  `json:"age_seconds" doc:"of the oldest digest, at the time of the result"`
	Chips  []Chip `json:"chips"`
	None   string `json:"none,omitempty" doc:"why there is nothing to show"`
}

// Chip is one source of flash regions, such as a chip or a block device.
type Chip struct {
	Source  string      `json:"source" doc:"empty: the device does not speak of the regions"`
	Size    uint64      `json:"size,omitempty" doc:"bytes, as far as known"`
	Regions []ChipRange `json:"regions" doc:"in ascending offset; they may overlap"`
}

// ChipRange is a range of a chip.
type ChipRange struct {
	Name      string     `json:"name"`
	Offset    uint64     `json:"offset"`
	Length    uint64     `json:"length"`
	Standing  Standing   `json:"standing"`
	Digest    string     `json:"digest,omitempty"`
	Expected  string     `json:"expected,omitempty"`
	Reference string     `json:"reference,omitempty"`
	Why       string     `json:"why,omitempty" doc:"why it could not be read, or is left out"`
	Excluded  []ChipSpan `json:"excluded,omitempty" doc:"ranges that the signed reference leaves out"`
}

// ChipSpan is a range of bytes of a ChipRange.
type ChipSpan struct {
	Offset uint64 `json:"offset"`
	Length uint64 `json:"length"`
	Why    string `json:"why,omitempty"`
}

// Timeline is what happened to a device, newest first. A page is about a limited number of results: where a page ends in
// the midst of results that say the same, the next one begins with a point of its own for the rest.
type Timeline struct {
	Points []TimelinePoint `json:"points"`
	Next   int64           `json:"next,omitempty" doc:"value of before for the next page"`
}

// TimelinePoint is one thing that happened. Results that said the same as the one before are one point.
type TimelinePoint struct {
	At     time.Time    `json:"at"`
	Until  *time.Time   `json:"until,omitempty" doc:"of results: when the last one came that said the same"`
	Kind   string       `json:"kind" enum:"result,reboot,firmware,event"`
	State  result.State `json:"state,omitempty" doc:"of results"`
	Text   string       `json:"text"`
	Count  int          `json:"count,omitempty" doc:"of results: how many said the same"`
	Result int64        `json:"result,omitempty" doc:"seq of the first of them"`
	Actor  string       `json:"actor,omitempty"`
}

// Freshness is what proves that a result is about the device now.
type Freshness struct {
	Result   int64     `json:"result"`
	Nonce    time.Time `json:"nonce_issued_at" doc:"when the verifier made the nonce that the quote holds"`
	At       time.Time `json:"appraised_at"`
	StaleAt  time.Time `json:"stale_at"`
	Clock    uint64    `json:"tpm_clock_ms,omitempty" doc:"milliseconds that the TPM was powered"`
	Resets   uint32    `json:"reset_count"`
	Restarts uint32    `json:"restart_count"`
	Evidence string    `json:"evidence" doc:"hexadecimal SHA-256 of the evidence message"`
	Quote    []byte    `json:"quote,omitempty" doc:"base64; TPMS_ATTEST"`
	Sig      []byte    `json:"signature,omitempty" doc:"base64; TPMT_SIGNATURE"`
	AK       []byte    `json:"attestation_key,omitempty" doc:"base64; TPMT_PUBLIC"`
	Text     []string  `json:"text" doc:"the same in words"`
}

// Diff is how two pieces of evidence differ.
type Diff struct {
	Left  DiffSide   `json:"left"`
	Right DiffSide   `json:"right"`
	Same  int        `json:"same" doc:"things that are equal"`
	Parts []DiffPart `json:"parts"`
}

// DiffSide is one of them.
type DiffSide struct {
	Device string       `json:"device"`
	Label  string       `json:"label,omitempty"`
	Result int64        `json:"result"`
	At     time.Time    `json:"at"`
	State  result.State `json:"state"`
}

// DiffPart is the differences of one part.
type DiffPart struct {
	Part  string     `json:"part" enum:"platform,pcrs,boot,files,flash,findings"`
	Lines []DiffLine `json:"lines"`
	Left  int        `json:"left,omitempty" doc:"differences that are not in the list"`
}

// DiffLine is one difference; an absent side has nothing of it.
type DiffLine struct {
	What  string `json:"what"`
	Left  string `json:"left_value,omitempty"`
	Right string `json:"right_value,omitempty"`
}

// Hit is a place where something that was searched for occurs.
type Hit struct {
	Kind   string     `json:"kind" enum:"device,manifest,baseline,denylist"`
	Object string     `json:"object" doc:"id of the device, manifest, baseline, or advisory"`
	Name   string     `json:"name,omitempty" doc:"label or version, for people"`
	Place  string     `json:"place" doc:"what it occurs as"`
	Digest string     `json:"digest,omitempty"`
	First  *time.Time `json:"first,omitempty" doc:"of devices: when evidence first had it"`
	Until  *time.Time `json:"until,omitempty" doc:"of devices: when evidence no longer had it; absent: it is still there"`
}

// Search is everything that a digest, file name, GUID, advisory or other text occurs in.
type Search struct {
	Query   string `json:"query"`
	Kind    string `json:"kind" enum:"digest,guid,file,advisory,text" doc:"what the query was taken for"`
	Hits    []Hit  `json:"hits"`
	Devices int    `json:"devices" doc:"different devices that ever had it, at most 10,000"`
	Now     int    `json:"now" doc:"of them, devices that have it now"`
	More    bool   `json:"more,omitempty" doc:"the query fits so much that only a part was looked at: ask for less"`
	Next    string `json:"next,omitempty" doc:"value of after for the next page, which has devices only"`
}

// Coverage is which devices a manifest is about.
type Coverage struct {
	Devices int                  `json:"devices" doc:"of its vendor and model"`
	Relying int                  `json:"relying" doc:"whose newest result used it"`
	States  map[result.State]int `json:"states" doc:"of those that rely on it; a device counts as stale once the verifier has noticed, which takes seconds"`
	Expires *time.Time           `json:"expires,omitempty" doc:"when the first of its validity and its endorsements ends"`
}

// Approval is one person's consent to a manifest's activation.
type Approval struct {
	Actor string    `json:"actor"`
	At    time.Time `json:"at"`
	Note  string    `json:"note,omitempty"`
}

// Approvals is who consented to a manifest's activation, and how many it takes.
type Approvals struct {
	Needed    int        `json:"needed" doc:"different people other than the submitter; 0: none"`
	Waits     bool       `json:"waits" doc:"it does not count until enough have consented"`
	Approvals []Approval `json:"approvals" doc:"oldest first"`
}

// NewApproval consents to a manifest's activation, or refuses it.
type NewApproval struct {
	Refuse bool   `json:"refuse,omitempty" doc:"the manifest is withdrawn"`
	Note   string `json:"note,omitempty" maxLength:"400"`
}
