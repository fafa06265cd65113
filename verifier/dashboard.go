package verifier

import (
	"net"
	"net/http"

	"github.com/probity-attest/probity/verifier/web"
)

// apiPaths belong to the API; everything else is the dashboard's.
var apiPaths = []string{"/v1/", "/auth/", "/healthz", "/metrics"}

// site serves the API and, beside it, the dashboard that is its client.
func (v *Verifier) site(api http.Handler) (http.Handler, error) {
	pages, err := web.New(web.Config{API: api, Enrolment: v.enrolment, Version: v.version, Log: v.log})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, path := range apiPaths {
		mux.Handle(path, api)
	}
	mux.Handle("/", pages)
	return mux, nil
}

// enrolment returns what a device needs to know of this verifier, as the line has it that the first start prints.
func (v *Verifier) enrolment() web.Enrolment {
	_, port, _ := net.SplitHostPort(v.MQTTAddr())
	e := web.Enrolment{Verifier: "mqtts://" + net.JoinHostPort(v.cfg.hosts()[0], port), Fingerprint: v.Fingerprint()}
	if first := v.first.Load(); first != nil {
		e.Token, e.Uses, e.Expires = first.text, first.uses, first.expires
	}
	return e
}
