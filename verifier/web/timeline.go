package web

import (
	"net/url"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// deviceTimeline shows what happened to a device, newest first.
func (p *page) deviceTimeline() error {
	v, done, err := p.deviceOf()
	if err != nil || done {
		return err
	}
	v.Chosen, v.Query = 0, ""
	query := url.Values{}
	if s := p.r.URL.Query().Get("before"); s != "" {
		query.Set("before", s)
	}
	var line v1.Timeline
	if _, err := p.detail(v, "timeline", query, &line); err != nil {
		return err
	}
	v.Part = &line
	return p.show("timeline", "Timeline · "+deviceName(v.Device), v)
}
