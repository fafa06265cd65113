package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/fleet"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// SelectDevices are the parameters that select devices, as v1.DeviceFilter has them. It is exported because huma looks
// into embedded structs only then.
type SelectDevices struct {
	State    []string `query:"state,explode" maxItems:"6" enum:"trusted,warning,untrusted,stale,never-attested,unsupported" doc:"state now; several: any of them"`
	Status   string   `query:"status" enum:"approved,pending,active"`
	Vendor   string   `query:"vendor" maxLength:"256"`
	Model    string   `query:"model" maxLength:"256"`
	Firmware string   `query:"firmware" maxLength:"256"`
	Group    string   `query:"group" maxLength:"128"`
	Level    string   `query:"level" enum:"certified,pinned,first-use,software" doc:"how well the identity is known"`
	Finding  string   `query:"finding" maxLength:"64" doc:"code of a finding of the newest result"`
	Cluster  string   `query:"cluster" maxLength:"40" doc:"id of a cluster"`
	Digest   string   `query:"digest" maxLength:"136" doc:"SHA-256, SHA-384 or SHA-512 that the device has now, hexadecimal"`
	Label    []string `query:"label,explode" maxItems:"8" doc:"NAME=VALUE; several: all of them"`
	Query    string   `query:"q" maxLength:"256" doc:"part of label, model, vendor or id"`
}

type listDevices struct {
	SelectDevices
	Sort  string `query:"sort" enum:"id,label,state,last_seen,since" default:"id" doc:"order; state: what asks for attention first"`
	Order string `query:"order" enum:"asc,desc" doc:"absent: newest first by last_seen and since, otherwise ascending"`
	After string `query:"after" maxLength:"512" doc:"next of the page before, with the same filter and order"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

func (s *server) registerList(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-devices", Method: http.MethodGet, Path: "/v1/devices",
		Summary: "List devices that a filter selects",
	}, s.devices)
	s.registerExport(doc)
	s.registerBulk(doc)
}

// filter returns the parameters as the document of the same.
func (in *SelectDevices) filter() (v1.DeviceFilter, error) {
	f := v1.DeviceFilter{
		Status: in.Status, Vendor: in.Vendor, Model: in.Model, Firmware: in.Firmware, Group: in.Group, Level: in.Level,
		Finding: in.Finding, Cluster: in.Cluster, Digest: in.Digest, Query: in.Query,
	}
	for _, state := range in.State {
		f.State = append(f.State, result.State(state))
	}
	for _, label := range in.Label {
		name, value, ok := strings.Cut(label, "=")
		if !ok || name == "" {
			return f, problemf(http.StatusUnprocessableEntity, "label: want NAME=VALUE")
		}
		if other, twice := f.Labels[name]; twice && other != value {
			return f, problemf(http.StatusUnprocessableEntity, "label: a device has one value of a name: give each name once")
		}
		if f.Labels == nil {
			f.Labels = make(map[string]string)
		}
		f.Labels[name] = value
	}
	return f, nil
}

// selection returns what a filter selects for p.
func (s *server) selection(p principal, f v1.DeviceFilter) (store.Filter, error) {
	out := store.Filter{
		Tenant: p.tenant, Now: s.Now(), States: f.State, Status: store.Status(f.Status), Vendor: f.Vendor, Model: f.Model,
		Firmware: f.Firmware, Group: f.Group, Level: result.Level(f.Level), Finding: f.Finding, Cluster: f.Cluster,
		Labels: f.Labels, Query: f.Query,
	}
	if f.Digest != "" {
		digest, err := fleet.ParseDigest(f.Digest)
		if err != nil {
			return out, problemf(http.StatusUnprocessableEntity, "%s", err.(refusal).Refused())
		}
		out.Digest = digest
	}
	for _, text := range []string{
		f.Status, f.Vendor, f.Model, f.Firmware, f.Group, f.Level, f.Finding, f.Cluster, f.Query,
	} {
		if !utf8.ValidString(text) {
			return out, problemf(http.StatusUnprocessableEntity, "filter: want UTF-8")
		}
	}
	return out, nil
}

func (s *server) devices(ctx context.Context, p principal, in *listDevices) (*body[v1.Devices], error) {
	chosen, err := in.filter()
	if err != nil {
		return nil, err
	}
	f, err := s.selection(p, chosen)
	if err != nil {
		return nil, err
	}
	f.Sort, f.Limit = store.Sort(in.Sort), in.Limit+1
	f.Desc = in.Order == "desc" || in.Order == "" && (f.Sort == store.ByLastSeen || f.Sort == store.BySince)
	if f.After, f.AfterKey, err = parseCursor(f.Sort, in.After); err != nil {
		return nil, err
	}
	list, err := s.Store.List(ctx, f, maxTotal)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	found := list.Devices
	out := v1.Devices{Devices: []v1.Device{}, Total: list.Total, TotalMore: list.More}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		last := &found[in.Limit-1]
		out.Next = cursor(f.Sort, last.ID, store.SortKey(f.Sort, last, f.Now))
	} else if list.Stopped {
		out.Next, out.Partial = cursor(f.Sort, list.After, list.AfterKey), true
	}
	for i := range found {
		out.Devices = append(out.Devices, deviceDocument(&found[i], f.Now))
	}
	return &body[v1.Devices]{out}, nil
}

// cursor names the place in a list after a device: by id the id, in other orders base64url of the order's name, the id
// and the device's key in it, with a line's end after each but the last. Clients take it as it is.
func cursor(by store.Sort, id, key string) string {
	if by == store.ByID || by == "" {
		return id
	}
	return base64.RawURLEncoding.EncodeToString([]byte(string(by) + "\n" + id + "\n" + key))
}

func parseCursor(by store.Sort, text string) (id, key string, err error) {
	if text == "" || by == store.ByID || by == "" {
		return text, "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	parts := strings.SplitN(string(b), "\n", 3)
	if err != nil || len(parts) != 3 || parts[0] != string(by) || !utf8.Valid(b) {
		return "", "", problemf(http.StatusUnprocessableEntity,
			"after: want next of the page before, with the same filter and order")
	}
	return parts[1], parts[2], nil
}
