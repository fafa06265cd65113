package web

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// bootPart is how a device booted.
type bootPart struct {
	Boot     *v1.Boot // nil: there is no result
	Pictures []chainPicture
	Legend   []standingView
	Rows     []bootRow // PCRs with their events
	Bad      int       // PCRs with something that weighs
}

// bootRow is one PCR.
type bootRow struct {
	*v1.BootPCR
	View    standingView
	Summary string
	Open    bool
	Events  []eventRow
}

// eventRow is one event.
type eventRow struct {
	*v1.BootEvent
	View   standingView
	Anchor string
	Weighs bool
}

// deviceBoot draws the boot chain, PCR by PCR.
func (p *page) deviceBoot() error {
	v, done, err := p.deviceOf()
	if err != nil || done {
		return err
	}
	part := &bootPart{}
	var boot v1.Boot
	found, err := p.detail(v, "boot", nil, &boot)
	if err != nil {
		return err
	}
	if found {
		part.fill(&boot)
	}
	v.Part = part
	return p.show("boot", "Boot chain · "+deviceName(v.Device), v)
}

func (b *bootPart) fill(boot *v1.Boot) {
	b.Boot = boot
	for _, at := range pictureWidths {
		b.Pictures = append(b.Pictures, drawChain(boot, at))
	}
	seen := map[v1.Standing]bool{}
	for i := range boot.PCRs {
		pcr := &boot.PCRs[i]
		row := bootRow{BootPCR: pcr, View: standingOf(pcr.Standing), Summary: laneSummary(pcr), Open: weighs(pcr.Standing)}
		seen[pcr.Standing] = true
		for k := range pcr.Events {
			e := &pcr.Events[k]
			seen[e.Standing] = true
			heavy := weighs(e.Standing)
			row.Open = row.Open || heavy
			row.Events = append(row.Events, eventRow{e, standingOf(e.Standing), eventAnchor(pcr.Index, k), heavy})
		}
		if row.Open {
			b.Bad++
		}
		b.Rows = append(b.Rows, row)
	}
	b.Legend = legend(seen)
}

// legend is the standings that occur, the worst first.
func legend(seen map[v1.Standing]bool) []standingView {
	var out []standingView
	for _, s := range standingOrder {
		if seen[s] {
			out = append(out, standingOf(s))
		}
	}
	return out
}

// filesPart is the files that ran.
type filesPart struct {
	Files  *v1.Files // nil: there is no result
	Counts []fileCount
	Rows   []fileRow
}

// fileCount is how many files have a standing; a filter.
type fileCount struct {
	Standing v1.Standing
	View     standingView
	Count    int
}

// fileRow is one file.
type fileRow struct {
	*v1.File
	View standingView
}

// deviceFiles lists what the IMA list says of programs and libraries, by file.
func (p *page) deviceFiles() error {
	v, done, err := p.deviceOf()
	if err != nil || done {
		return err
	}
	query := url.Values{}
	for _, name := range []string{"standing", "after"} {
		if s := p.r.URL.Query().Get(name); s != "" {
			query.Set(name, s)
		}
	}
	part := &filesPart{}
	var files v1.Files
	found, err := p.detail(v, "files", query, &files)
	if err != nil {
		return err
	}
	if found {
		part.Files = &files
		for _, s := range standingOrder {
			if n := files.Counts[string(s)]; n > 0 {
				part.Counts = append(part.Counts, fileCount{s, standingOf(s), n})
			}
		}
		for i := range files.Files {
			part.Rows = append(part.Rows, fileRow{&files.Files[i], standingOf(files.Files[i].Standing)})
		}
	}
	v.Part = part
	return p.show("files", "Files · "+deviceName(v.Device), v)
}

// evidencePart is the proof that a result is about the device now, and the raw bytes behind it.
type evidencePart struct {
	Freshness *v1.Freshness // nil: there is no result
	Powered   string        // how long the TPM was powered; empty: not known
	Result    *v1.Result    // where it is the newest
	Captures  []v1.Capture
	Regions   []string // that may be captured
}

// deviceEvidence shows freshness, evidence and captures.
func (p *page) deviceEvidence() error {
	v, done, err := p.deviceOf()
	if err != nil || done {
		return err
	}
	part := &evidencePart{}
	var fresh v1.Freshness
	found, err := p.detail(v, "freshness", nil, &fresh)
	if err != nil {
		return err
	}
	if found {
		part.Freshness = &fresh
		if fresh.Clock > 0 {
			part.Powered = roughly(time.Duration(min(fresh.Clock,
				math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond) //nolint:gosec // bounded
		}
	}
	if v.Newest != nil {
		if v.Chosen == 0 {
			part.Result = v.Newest
		}
		for i := range v.Newest.Regions {
			part.Regions = append(part.Regions, v.Newest.Regions[i].Name)
		}
	}
	if p.can("list-captures") {
		var list v1.Captures
		if err := p.api(http.MethodGet, pathTo("v1", "devices", v.Device.ID, "captures"), nil, &list); err != nil {
			return err
		}
		part.Captures = list.Captures
	}
	v.Part = part
	return p.show("evidence", "Evidence · "+deviceName(v.Device), v)
}

// downloads are what a result was made of, by the name in the address.
var downloads = map[string]bool{"boot-log": true, "ima-list": true, "evidence": true}

// downloadEvidence hands over what a result was made of, byte by byte.
func (p *page) downloadEvidence() error {
	what, id, query := p.r.PathValue("what"), p.r.PathValue("id"), p.r.URL.Query()
	if !downloads[what] {
		return p.notFound()
	}
	if what == "evidence" {
		return p.forward(pathTo("v1", "devices", id, "evidence", query.Get("digest")))
	}
	pick := url.Values{}
	if s := query.Get("result"); s != "" {
		pick.Set("result", s)
	}
	return p.forward(withQuery(pathTo("v1", "devices", id, what), pick))
}

// captureDevice asks for raw bytes of flash memory.
func (p *page) captureDevice() error {
	id := p.r.PathValue("id")
	in := v1.NewCapture{Region: p.r.PostFormValue("region")}
	var err error
	if in.Offset, err = number(p.r.PostFormValue("offset"), 64, "offset"); err != nil {
		return err
	}
	length, err := number(p.r.PostFormValue("length"), 32, "length")
	if err != nil {
		return err
	}
	in.Length = uint32(length) //nolint:gosec // 32 bits were asked for
	if err := p.api(http.MethodPost, pathTo("v1", "devices", id, "captures"), in, nil); err != nil {
		return err
	}
	return p.done(pathTo("devices", id, "evidence")+"#captures",
		"The device was asked for the bytes. Its owner's charter decides whether they come.")
}

// number reads a decimal or 0x-hexadecimal number of at most that many bits; nothing is 0.
func number(text string, bits int, what string) (uint64, error) {
	n, err := strconv.ParseUint(cmp.Or(text, "0"), 0, bits)
	if err != nil {
		return 0, wrongInput("%s %q: want a number of bytes, such as 4096 or 0x1000", what, clipText(text, 40))
	}
	return n, nil
}

func (p *page) removeCapture() error {
	id := p.r.PathValue("id")
	if err := p.api(http.MethodDelete, pathTo("v1", "devices", id, "captures", p.r.PathValue("capture")), nil,
		nil); err != nil {
		return err
	}
	return p.done(pathTo("devices", id, "evidence")+"#captures", "The capture was deleted.")
}

// downloadCapture hands over all bytes of a capture, which the API gives in pieces.
func (p *page) downloadCapture() error {
	id, number := p.r.PathValue("id"), p.r.PathValue("capture")
	at := pathTo("v1", "devices", id, "captures", number)
	var c v1.Capture
	if err := p.api(http.MethodGet, at, nil, &c); err != nil {
		return err
	}
	sent := 0
	for {
		var piece []byte
		err := p.api(http.MethodGet, at+"/raw?offset="+strconv.Itoa(sent), nil, &piece)
		if err != nil && sent == 0 {
			return err
		}
		if err != nil { // too late for a page: the browser sees that the file is cut short
			panic(http.ErrAbortHandler)
		}
		if sent == 0 {
			h := p.w.Header()
			h.Set("Content-Type", "application/octet-stream")
			h.Set("Content-Disposition", `attachment; filename="`+short(id)+"-capture-"+number+"-"+fileName(c.Region)+`"`)
			h.Set("Content-Length", strconv.FormatUint(uint64(c.Held), 10))
		}
		if len(piece) == 0 {
			return nil
		}
		if _, err := p.w.Write(piece); err != nil {
			return nil // the browser is gone
		}
		if sent += len(piece); sent >= int(c.Held) {
			return nil
		}
	}
}
