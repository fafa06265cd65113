package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// comparedResults is how many results of a device the page offers to compare with.
const comparedResults = 50

// diffPart is a comparison of two devices, or of one device at two times.
type diffPart struct {
	With, At, WithAt string // as asked for
	Results          []v1.Result
	Diff             *v1.Diff // nil: nothing was asked for yet
	Self             bool     // the same device at two times
	Differences      int
}

// partNames says the parts of a comparison in words.
var partNames = map[string]string{
	"platform": "Machine", "pcrs": "PCRs", "boot": "Boot events", "files": "Files that ran", "flash": "Flash memory",
	"findings": "Findings",
}

// PartName says a part in words.
func (d *diffPart) PartName(part string) string {
	if s := partNames[part]; s != "" {
		return s
	}
	return part
}

// deviceDiff shows side by side in what two devices differ, or a device now and earlier.
func (p *page) deviceDiff() error {
	v, done, err := p.deviceOf()
	if err != nil || done {
		return err
	}
	v.Chosen, v.Query = 0, ""
	query := p.r.URL.Query()
	part := &diffPart{
		With: strings.TrimSpace(query.Get("with")), At: strings.TrimSpace(query.Get("at")),
		WithAt: strings.TrimSpace(query.Get("with_at")),
	}
	if p.can("list-results") {
		var list v1.Results
		path := pathTo("v1", "devices", v.Device.ID, "results") + "?limit=" + strconv.Itoa(comparedResults)
		if err := p.api(http.MethodGet, path, nil, &list); err != nil {
			return err
		}
		part.Results = list.Results
	}
	if part.With != "" || part.WithAt != "" || part.At != "" {
		if err := p.compare(v, part); err != nil {
			return err
		}
	}
	v.Part = part
	return p.show("diff", "Compare · "+deviceName(v.Device), v)
}

func (p *page) compare(v *deviceView, part *diffPart) error {
	ask := url.Values{"with": {part.With}}
	if part.With == "" {
		ask.Set("with", v.Device.ID)
	}
	for name, value := range map[string]string{"at": part.At, "with_at": part.WithAt} {
		if value != "" {
			ask.Set(name, value)
		}
	}
	part.Diff = &v1.Diff{}
	if err := p.api(http.MethodGet, withQuery(pathTo("v1", "devices", v.Device.ID, "diff"), ask), nil,
		part.Diff); err != nil {
		return err
	}
	part.Self = part.Diff.Left.Device == part.Diff.Right.Device
	for i := range part.Diff.Parts {
		part.Differences += len(part.Diff.Parts[i].Lines) + part.Diff.Parts[i].Left
	}
	return nil
}
