package webtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// fleet is the devices of the fake.
type fleet struct {
	start   time.Time
	devices []v1.Device
	bulk    v1.BulkAction // the newest that was not a dry run
	bulks   int
}

// BadCluster is the id of the cluster that untrusted devices are in.
const BadCluster = "00c1"

// AddDevices adds devices with a state, told apart by their numbers.
func (a *API) AddDevices(n int, state result.State, model string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range n {
		i := len(a.devices)
		seen := a.start.Add(-time.Duration(i) * time.Minute)
		d := v1.Device{
			ID: fmt.Sprintf("%08x%056x", uint32(i+1)*2654435761, i), Status: "active", State: state, Verdict: state, Level: result.Certified,
			Label: fmt.Sprintf("site-%03d", i), Group: []string{"north", "south"}[i%2], Vendor: "Acme", Model: model,
			Firmware: "2.5.0", Labels: map[string]string{"jurisdiction": "eu"},
		}
		d.Since, d.EnrolledAt = &a.start, &a.start
		if state != result.NeverAttested {
			d.LastSeen = &seen
		}
		a.devices = append(a.devices, d)
	}
}

// SetState changes a device's state by its number.
func (a *API) SetState(i int, state result.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.devices[i].State, a.devices[i].Verdict = state, state
}

// SetDevice changes anything of a device.
func (a *API) SetDevice(i int, change func(*v1.Device)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.devices[i])
}

// LastBulk returns the newest bulk action that was done.
func (a *API) LastBulk() v1.BulkAction {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bulk
}

func (a *API) registerFleet() {
	a.Handle("GET /v1/fleet/summary", func(*http.Request, []byte) (int, any) { return http.StatusOK, a.summary() })
	a.Handle("GET /v1/fleet/clusters", func(*http.Request, []byte) (int, any) { return http.StatusOK, a.clusters() })
	a.Handle("GET /v1/fleet/clusters/{id}", func(r *http.Request, _ []byte) (int, any) {
		for _, c := range a.clusters().Clusters {
			if c.ID == r.PathValue("id") {
				return http.StatusOK, c
			}
		}
		return http.StatusNotFound, &v1.Problem{Title: "Not Found", Detail: "no such cluster"}
	})
	a.Handle("GET /v1/fleet/history", func(*http.Request, []byte) (int, any) { return http.StatusOK, a.history() })
	a.Handle("GET /v1/fleet/changes", func(*http.Request, []byte) (int, any) { return http.StatusOK, a.changes() })
	a.Handle("GET /v1/fleet/facets", func(*http.Request, []byte) (int, any) { return http.StatusOK, a.facets() })
	a.Handle("GET /v1/counts", func(*http.Request, []byte) (int, any) {
		s := a.summary()
		return http.StatusOK, v1.Counts{States: s.States, Total: s.Total}
	})
	a.Handle("GET /v1/devices", a.list)
	a.Handle("GET /v1/devices/export", func(r *http.Request, _ []byte) (int, any) {
		var b strings.Builder
		b.WriteString("id,label,state\n")
		for _, d := range a.selected(r.URL.Query()) {
			fmt.Fprintf(&b, "%s,%s,%s\n", d.ID, d.Label, d.State)
		}
		return http.StatusOK, []byte(b.String())
	})
	a.Handle("POST /v1/devices/bulk", a.startBulk)
	a.Handle("GET /v1/bulk/{id}", func(r *http.Request, _ []byte) (int, any) {
		n := len(a.bulk.Devices)
		return http.StatusOK, v1.Bulk{
			ID: r.PathValue("id"), JobProgress: v1.JobProgress{Over: true, Done: n, Total: n}, Failures: []v1.BulkFailure{},
		}
	})
	a.Handle("POST /v1/tokens", func(_ *http.Request, _ []byte) (int, any) {
		t := v1.Token{ID: "t1", Uses: 100, Created: a.start, Expires: a.start.Add(24 * time.Hour)}
		return http.StatusCreated, v1.CreatedToken{Token: t, Secret: "probity-device-t1-secret"}
	})
}

func (a *API) summary() v1.Summary {
	s := v1.Summary{
		At: time.Now().UTC(), Total: len(a.devices), States: map[result.State]int{}, Moves: []v1.Move{}, Notices: []v1.Notice{},
	}
	for _, d := range a.devices {
		s.States[d.State]++
		if d.Status == "pending" {
			s.Pending++
		}
	}
	s.Clusters = len(a.clusters().Clusters)
	for _, b := range []int64{3600, 86400, 0} {
		n := 0
		if b == 3600 {
			n = len(a.devices)
		}
		s.Ages = append(s.Ages, v1.AgeBucket{UpTo: b, Devices: n})
	}
	if n := s.States[result.Untrusted]; n > 0 {
		s.Moves = append(s.Moves, v1.Move{From: result.Trusted, To: result.Untrusted, Devices: n})
	}
	soon := a.start.Add(72 * time.Hour)
	s.Notices = append(s.Notices, v1.Notice{Kind: "manifest", Object: "acme/r7/2.5.0", Text: "manifest acme/r7/2.5.0 ends", At: &soon})
	return s
}

func (a *API) clusters() v1.Clusters {
	n, since := 0, a.start.Add(-3*time.Hour)
	for _, d := range a.devices {
		if d.State == result.Untrusted {
			n++
		}
	}
	out := v1.Clusters{Clusters: []v1.Cluster{}}
	if n > 0 {
		out.Clusters = append(out.Clusters, v1.Cluster{
			ID: BadCluster, Code: "boot-event-unknown", Severity: result.Critical, Submod: result.Boot,
			Component: `PCR 4, boot application \EFI\BOOT\BOOTX64.EFI`, Observed: "sha256:" + strings.Repeat("ab", 32),
			Expected: "sha256:" + strings.Repeat("cd", 32), Nearest: "Acme R7 2.4.1",
			Meaning: "The boot loader is not one that the vendor published for this version.",
			Action:  "Take the device out of service, and ask what was installed and by whom.", Devices: n, Since: since,
			Models: []v1.ValueCount{{Value: "Acme R7", Devices: n}}, Groups: []v1.ValueCount{{Value: "north", Devices: n}},
		})
	}
	return out
}

func (a *API) history() v1.History {
	const points = 48
	h := v1.History{Step: 1800, States: map[result.State][]int{}, Reports: make([]int, points)}
	h.From = a.start.Add(-24 * time.Hour)
	s := a.summary()
	for i := range points {
		h.At = append(h.At, h.From.Unix()+int64(i)*h.Step)
		for _, state := range []result.State{result.Trusted, result.Warning, result.Untrusted, result.Stale, result.NeverAttested, result.Unsupported} {
			n := s.States[state]
			if state == result.Untrusted && i < points-8 {
				n = 0
			} else if state == result.Trusted && i < points-8 {
				n += s.States[result.Untrusted]
			}
			h.States[state] = append(h.States[state], n)
		}
	}
	return h
}

func (a *API) changes() v1.Changes {
	out := v1.Changes{Changes: []v1.Change{}}
	for i, d := range a.devices {
		if d.State == result.Untrusted && len(out.Changes) < 10 {
			out.Changes = append(out.Changes, v1.Change{
				Seq: int64(i), At: a.start, Device: d.ID, Label: d.Label, Model: d.Model, From: result.Trusted, To: d.State,
				Why: "PCR 4, boot loader: it is not one that the vendor published",
			})
		}
	}
	return out
}

func (a *API) facets() v1.Facets {
	count := func(of func(v1.Device) string) []v1.ValueCount {
		out := []v1.ValueCount{}
		for _, d := range a.devices {
			v := of(d)
			if v == "" {
				continue
			}
			i := slices.IndexFunc(out, func(c v1.ValueCount) bool { return c.Value == v })
			if i < 0 {
				i = len(out)
				out = append(out, v1.ValueCount{Value: v})
			}
			out[i].Devices++
		}
		return out
	}
	return v1.Facets{
		Vendors: count(func(d v1.Device) string { return d.Vendor }), Models: count(func(d v1.Device) string { return d.Model }),
		Firmwares: count(func(d v1.Device) string { return d.Firmware }), Groups: count(func(d v1.Device) string { return d.Group }),
		Codes: []v1.ValueCount{}, Labels: map[string][]v1.ValueCount{
			"jurisdiction": count(func(d v1.Device) string { return d.Labels["jurisdiction"] }),
		},
	}
}

// selected returns the devices that parameters of the list select.
func (a *API) selected(query map[string][]string) (out []v1.Device) {
	get := func(name string) string {
		if v := query[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	for _, d := range a.devices {
		switch {
		case len(query["state"]) > 0 && !slices.Contains(query["state"], string(d.State)):
		case get("status") != "" && get("status") != d.Status:
		case get("model") != "" && get("model") != d.Model:
		case get("group") != "" && get("group") != d.Group:
		case get("cluster") != "" && (get("cluster") != BadCluster || d.State != result.Untrusted):
		case get("q") != "" && !strings.Contains(d.Label+d.ID, get("q")):
		default:
			out = append(out, d)
		}
	}
	return out
}

func (a *API) list(r *http.Request, _ []byte) (int, any) {
	query := r.URL.Query()
	found := a.selected(query)
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil {
		limit = 50
	}
	total := len(found)
	from, _ := strconv.Atoi(query.Get("after")) // absent: from the first
	found = found[min(from, total):]
	next := ""
	if len(found) > limit {
		found, next = found[:limit], strconv.Itoa(from+limit)
	}
	return http.StatusOK, map[string]any{"devices": append([]v1.Device{}, found...), "next": next, "total": total}
}

func (a *API) startBulk(_ *http.Request, body []byte) (int, any) {
	var in v1.BulkAction
	if err := json.Unmarshal(body, &in); err != nil {
		return http.StatusBadRequest, &v1.Problem{Title: "Bad Request", Detail: err.Error()}
	}
	if f := in.Filter; f != nil {
		query := map[string][]string{"group": {f.Group}, "model": {f.Model}, "q": {f.Query}, "cluster": {f.Cluster}}
		for _, s := range f.State {
			query["state"] = append(query["state"], string(s))
		}
		for _, d := range a.selected(query) {
			in.Devices = append(in.Devices, d.ID)
		}
		if in.Expect != nil && *in.Expect != len(in.Devices) {
			return http.StatusConflict, &v1.Problem{Title: "Conflict", Detail: "the filter selects another number of devices"}
		}
	}
	n := len(in.Devices)
	out := v1.Bulk{JobProgress: v1.JobProgress{Total: n}, Failures: []v1.BulkFailure{}}
	if in.DryRun {
		out.Over = true
		return http.StatusOK, out
	}
	a.bulks++
	a.bulk, out.ID = in, strconv.Itoa(a.bulks)
	for i := range a.devices {
		if !slices.Contains(in.Devices, a.devices[i].ID) {
			continue
		}
		switch {
		case in.Action == "label" && in.Group != nil:
			a.devices[i].Group = *in.Group
		case in.Action == "approve":
			a.devices[i].Status = "active"
		}
	}
	if in.Action == "remove" {
		a.devices = slices.DeleteFunc(a.devices, func(d v1.Device) bool { return slices.Contains(in.Devices, d.ID) })
	}
	return http.StatusAccepted, out
}
