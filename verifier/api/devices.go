package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/probity-attest/probity/proto"
	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// deviceID names a device in a path.
type deviceID struct {
	ID string `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
}

// huma looks into embedded structs only when they are exported, hence no embedding here.
type patchDevice struct {
	ID   string `path:"id" maxLength:"512" doc:"full id, the first characters of one (at least 4), or label"`
	Body v1.DevicePatch
}

func (s *server) registerDevices(doc huma.API) {
	s.registerList(doc)
	register(s, doc, huma.Operation{
		OperationID: "get-device", Method: http.MethodGet, Path: "/v1/devices/{id}", Summary: "Show a device",
	}, s.device)
	register(s, doc, huma.Operation{
		OperationID: "change-device", Method: http.MethodPatch, Path: "/v1/devices/{id}",
		Summary: "Change a device's label, group or labels",
	}, s.patch)
	register(s, doc, huma.Operation{
		OperationID: "remove-device", Method: http.MethodDelete, Path: "/v1/devices/{id}",
		Summary: "Forget a device and its results", DefaultStatus: http.StatusNoContent,
	}, s.remove)
	register(s, doc, huma.Operation{
		OperationID: "approve-device", Method: http.MethodPost, Path: "/v1/devices/{id}/approve",
		Summary: "Let a pending device in, or one with this full id when it comes",
	}, s.approve)
	register(s, doc, huma.Operation{
		OperationID: "attest-device", Method: http.MethodPost, Path: "/v1/devices/{id}/attest",
		Summary: "Ask a device for evidence now", DefaultStatus: http.StatusAccepted,
	}, s.attest)
}

func (s *server) device(ctx context.Context, p principal, in *deviceID) (*body[v1.Device], error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	setVersion(ctx, deviceVersion(&d))
	return &body[v1.Device]{deviceDocument(&d, s.Now())}, nil
}

func (s *server) patch(ctx context.Context, p principal, in *patchDevice) (*body[v1.Device], error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.checkPatch(ctx, p, d.ID, in.Body); err != nil {
		return nil, err
	}
	// The fleet writes the same record whenever evidence comes.
	for attempt := 1; ; attempt++ {
		if err := checkVersion(ctx, deviceVersion(&d)); err != nil {
			return nil, err
		}
		changes := applyPatch(&d, in.Body)
		if len(changes) == 0 {
			break
		}
		if len(d.Labels) > maxLabels {
			return nil, problemf(http.StatusUnprocessableEntity, "a device has at most %d labels", maxLabels)
		}
		version, err := s.Store.SaveDevice(ctx, d, s.event(p, d.ID, "changed the device: "+strings.Join(changes, ", ")))
		if err == nil {
			d.Version = version
			break
		}
		if !errors.Is(err, store.ErrConflict) || attempt == saveAttempts {
			return nil, fmt.Errorf("save device %s: %w", d.ID, err)
		}
		if d, err = s.Store.Device(ctx, p.tenant, d.ID); err != nil {
			return nil, fmt.Errorf("read device again: %w", err)
		}
	}
	setVersion(ctx, deviceVersion(&d))
	return &body[v1.Device]{deviceDocument(&d, s.Now())}, nil
}

func (s *server) remove(ctx context.Context, p principal, in *deviceID) (*empty, error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return nil, s.Fleet.Remove(ctx, p.tenant, d.ID, p.actor())
}

func (s *server) approve(ctx context.Context, p principal, in *deviceID) (*body[v1.Device], error) {
	id := in.ID
	d, err := s.resolve(ctx, p, in.ID)
	switch {
	case err == nil:
		id = d.ID
	case !errors.Is(err, store.ErrNotFound) || !proto.ValidDevice(id):
		return nil, err
	}
	d, err = s.Fleet.Approve(ctx, p.tenant, id, p.actor())
	if err != nil {
		return nil, err
	}
	return &body[v1.Device]{deviceDocument(&d, s.Now())}, nil
}

func (s *server) attest(ctx context.Context, p principal, in *deviceID) (*empty, error) {
	d, err := s.resolve(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.Store.AddEvent(ctx, s.event(p, d.ID, "asked for evidence now")); err != nil {
		return nil, fmt.Errorf("record event: %w", err)
	}
	return nil, s.Fleet.Attest(ctx, p.tenant, d.ID)
}

// missing is the answer to the name of a device that is not there.
type missing struct{ *v1.Problem }

func (m missing) Unwrap() []error { return []error{m.Problem, store.ErrNotFound} }

// resolve returns the device that name means: a full id, the start of one, or a label.
func (s *server) resolve(ctx context.Context, p principal, name string) (store.Device, error) {
	find := s.Store.Resolve
	if proto.ValidDevice(name) {
		find = s.Store.Device
	}
	d, err := find(ctx, p.tenant, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Device{}, missing{problemf(http.StatusNotFound,
			"no device has an id that starts with this (at least 4 characters), or this label")}
	case errors.Is(err, store.ErrAmbiguous):
		return store.Device{}, s.ambiguous(ctx, p, name)
	case err != nil:
		return store.Device{}, fmt.Errorf("resolve device: %w", err)
	}
	return d, nil
}

// ambiguous returns a problem that names the first devices that name may mean.
func (s *server) ambiguous(ctx context.Context, p principal, name string) error {
	problem := problemf(http.StatusConflict, "several devices match: use more characters of the id")
	byID, err := s.Store.Devices(ctx, store.Filter{Tenant: p.tenant, After: name, Limit: maxCandidates, Now: s.Now()})
	if err != nil {
		return fmt.Errorf("list candidates: %w", err)
	}
	byLabel, err := s.Store.Devices(ctx, store.Filter{Tenant: p.tenant, Query: name, Limit: maxCandidates, Now: s.Now()})
	if err != nil {
		return fmt.Errorf("list candidates: %w", err)
	}
	seen := map[string]bool{}
	for _, d := range append(byID, byLabel...) {
		if (strings.HasPrefix(d.ID, name) || d.Label == name) && !seen[d.ID] && len(seen) < maxCandidates {
			seen[d.ID] = true
			problem.Candidates = append(problem.Candidates, v1.Candidate{ID: d.ID, Label: d.Label})
		}
	}
	return problem
}

var looksLikeID = regexp.MustCompile(`^[0-9a-fA-F]{4,64}$`)

// checkPatch refuses names that would mislead people: invisible characters, the look of an id, another device's label.
func (s *server) checkPatch(ctx context.Context, p principal, id string, patch v1.DevicePatch) error {
	texts := map[string]string{}
	if patch.Label != nil {
		texts["label"] = *patch.Label
	}
	if patch.Group != nil {
		texts["group"] = *patch.Group
	}
	for name, value := range patch.Labels {
		if name == "" {
			return problemf(http.StatusUnprocessableEntity, "labels: a label needs a name")
		}
		texts["name of a label"], texts["value of a label"] = name, value
		if err := checkTexts(texts); err != nil {
			return err
		}
	}
	if err := checkTexts(texts); err != nil || patch.Label == nil || *patch.Label == "" {
		return err
	}
	label := *patch.Label
	if looksLikeID.MatchString(label) || label == "." || label == ".." {
		return problemf(http.StatusUnprocessableEntity, "label: reads as the start of an id, or as a path: choose another")
	}
	other, err := s.Store.Resolve(ctx, p.tenant, label)
	if errors.Is(err, store.ErrAmbiguous) || err == nil && other.ID != id && other.Label == label {
		return problemf(http.StatusConflict, "label: another device has it: labels name one device")
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("look for label: %w", err)
	}
	return nil
}

func checkTexts(texts map[string]string) error {
	for what, text := range texts {
		if len(text) > maxLabel || !utf8.ValidString(text) {
			return problemf(http.StatusUnprocessableEntity, "%s: want at most %d bytes of UTF-8", what, maxLabel)
		}
		for _, r := range text {
			if !v1.Prints(r) {
				return problemf(http.StatusUnprocessableEntity, "%s: character %U does not print", what, r)
			}
		}
	}
	return nil
}

// applyPatch changes d and returns what it changed, in words.
func applyPatch(d *store.Device, patch v1.DevicePatch) []string {
	var changes []string
	if patch.Label != nil && d.Label != *patch.Label {
		changes = append(changes, fmt.Sprintf("label %q, was %q", *patch.Label, d.Label))
		d.Label = *patch.Label
	}
	if patch.Group != nil && d.Group != *patch.Group {
		changes = append(changes, fmt.Sprintf("group %q, was %q", *patch.Group, d.Group))
		d.Group = *patch.Group
	}
	labels := maps.Clone(d.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for name, value := range patch.Labels {
		if labels[name] == value {
			continue
		}
		changes = append(changes, fmt.Sprintf("label %q=%q, was %q", name, value, labels[name]))
		if value == "" {
			delete(labels, name)
		} else {
			labels[name] = value
		}
	}
	d.Labels = labels
	return changes
}

// event is what a write records.
func (s *server) event(p principal, device, detail string) store.Event {
	return store.Event{At: s.Now().UTC(), Tenant: p.tenant, Device: device, Kind: "operator", Actor: p.actor(), Detail: detail}
}

func deviceDocument(d *store.Device, now time.Time) v1.Device {
	return v1.Device{
		ID: d.ID, Status: string(d.Status), State: d.Current(now), Verdict: d.State, Since: moment(d.Since),
		Level: d.Level, Label: d.Label, Group: d.Group, Labels: d.Labels,
		Vendor: d.Vendor, Model: d.Model, Firmware: d.Firmware, Agent: d.Agent, EKIssuer: d.EKIssuer,
		CertificateSerial: d.CertSerial, CertificateExpires: moment(d.CertExpires),
		EnrolledAt: moment(d.EnrolledAt), LastSeen: moment(d.LastSeen), StaleAt: moment(d.StaleAt),
	}
}

// moment returns nil for the zero time, which stands for "never".
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
