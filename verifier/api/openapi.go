package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// The API describes itself in OpenAPI 3.1: operations and documents from the Go types that serve them, and here what
// all of them have in common. The same description is committed beside this file as openapi.json; a test demands that
// they are the same, so that a change of the API shows as a change of that file.

// describe adds to an operation what every one of its kind has.
func describe(op *huma.Operation) {
	if section := strings.SplitN(op.Path, "/", 4); len(section) > 2 && op.Tags == nil {
		op.Tags = []string{section[2]}
	}
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	header := func(name, text string) {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: name, In: "header", Description: text, Schema: &huma.Schema{Type: huma.TypeString},
		})
	}
	route := op.Method + " " + op.Path
	errors := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusTooManyRequests}
	if open[route] {
		errors = []int{http.StatusTooManyRequests}
	}
	if strings.Contains(op.Path, "{") {
		errors = append(errors, http.StatusNotFound)
	}
	switch {
	case safe(op.Method):
		header("If-None-Match", "entity tags of answers that the client has: 304 says that one of them still holds")
		op.Responses["304"] = &huma.Response{Description: "not changed since the client read it"}
	case !open[route]:
		header("Idempotency-Key", "a new UUID for each write: who sends the same again gets the first answer again")
		errors = append(errors, http.StatusConflict)
		if conditional[route] {
			header("If-Match", "entity tag of what the client read: 412 says that somebody changed it since")
			errors = append(errors, http.StatusPreconditionFailed)
		}
	}
	for _, status := range append(errors, http.StatusInternalServerError) {
		if op.Responses[fmt.Sprint(status)] == nil {
			op.Errors = append(op.Errors, status)
		}
	}
}

// openAPI returns the description of the API. The errors in it are the problem documents of package v1, into which
// those of the library are turned before they reach a client.
func openAPI(doc huma.API) ([]byte, error) {
	schemas := doc.OpenAPI().Components.Schemas
	schemas.Schema(reflect.TypeFor[v1.Problem](), true, "")
	schemas.Schema(reflect.TypeFor[v1.StreamChange](), true, "")
	b, err := json.Marshal(doc.OpenAPI())
	if err != nil {
		return nil, err
	}
	b = []byte(strings.ReplaceAll(string(b), `"#/components/schemas/ErrorModel"`, `"#/components/schemas/Problem"`))
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, err
	}
	components, _ := out["components"].(map[string]any)
	all, _ := components["schemas"].(map[string]any)
	delete(all, "ErrorModel")
	delete(all, "ErrorDetail")
	return json.Marshal(out)
}
