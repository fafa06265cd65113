package webtest

import "net/http"

// Mux serves an API and the dashboard beside each other, as the verifier does.
func Mux(api, pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/v1/", "/auth/", "/healthz", "/metrics"} {
		mux.Handle(path, api)
	}
	mux.Handle("/", pages)
	return mux
}
