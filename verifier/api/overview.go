package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
	"github.com/probity-attest/probity/verifier/store"
)

// ages are the bounds of the summary's buckets of devices by the age of their newest evidence.
var ages = []time.Duration{
	15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

type listClusters struct {
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Severity string `query:"severity" enum:"info,warning,critical" default:"warning" doc:"least severity; info: also what only is reported or waived"`
}

type clusterName struct {
	ID string `path:"id" maxLength:"40"`
}

type getHistory struct {
	From   time.Time `query:"from" doc:"absent: a day before to"`
	To     time.Time `query:"to" doc:"absent: now"`
	Points int       `query:"points" minimum:"2" maximum:"500" default:"100" doc:"the most points; steps are of a round length"`
}

func (s *server) registerOverview(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "get-fleet-summary", Method: http.MethodGet, Path: "/v1/fleet/summary",
		Summary: "Show the fleet now: devices by state and age, changes of a day, what needs attention",
	}, s.summary)
	register(s, doc, huma.Operation{
		OperationID: "list-clusters", Method: http.MethodGet, Path: "/v1/fleet/clusters",
		Summary: "List clusters of devices that fail in the same way, most severe and largest first",
	}, s.clusters)
	register(s, doc, huma.Operation{
		OperationID: "get-cluster", Method: http.MethodGet, Path: "/v1/fleet/clusters/{id}", Summary: "Show a cluster",
	}, s.cluster)
	register(s, doc, huma.Operation{
		OperationID: "get-fleet-history", Method: http.MethodGet, Path: "/v1/fleet/history",
		Summary: "Show how many devices were in each state over time",
	}, s.fleetHistory)
	register(s, doc, huma.Operation{
		OperationID: "list-changes", Method: http.MethodGet, Path: "/v1/fleet/changes",
		Summary: "List changes of devices' states, newest first",
	}, s.changes)
	register(s, doc, huma.Operation{
		OperationID: "get-facets", Method: http.MethodGet, Path: "/v1/fleet/facets",
		Summary: "List the values by which devices can be filtered, with how many devices have each",
	}, s.facets)
}

func (s *server) summary(ctx context.Context, p principal, _ *empty) (*body[v1.Summary], error) {
	now := s.Now().UTC()
	out := v1.Summary{At: now, Moves: []v1.Move{}, Notices: []v1.Notice{}}
	counts, err := s.counts(ctx, p, &empty{})
	if err != nil {
		return nil, err
	}
	out.Total, out.States = counts.Body.Total, counts.Body.States
	out.Pending, _, err = s.Store.Total(ctx, store.Filter{Tenant: p.tenant, Status: store.Pending, Now: now}, 0)
	if err != nil {
		return nil, fmt.Errorf("count pending devices: %w", err)
	}
	buckets, err := s.Store.Ages(ctx, p.tenant, now, ages)
	if err != nil {
		return nil, err
	}
	for i, n := range buckets {
		b := v1.AgeBucket{Devices: n}
		if i < len(ages) {
			b.UpTo = int64(ages[i] / time.Second)
		}
		out.Ages = append(out.Ages, b)
	}
	moves, err := s.Store.Moves(ctx, p.tenant, now.Add(-24*time.Hour))
	if err != nil {
		return nil, err
	}
	for _, m := range moves {
		out.Moves = append(out.Moves, v1.Move{From: m.From, To: m.To, Devices: m.Devices})
	}
	if out.Clusters, err = s.Store.CountClusters(ctx, p.tenant, result.Warn, maxTotal); err != nil {
		return nil, err
	}
	notices, err := s.Fleet.Notices(ctx, p.tenant)
	if err != nil {
		return nil, fmt.Errorf("look for what needs attention: %w", err)
	}
	for _, n := range notices {
		out.Notices = append(out.Notices, v1.Notice{Kind: n.Kind, Object: n.Object, Text: n.Text, At: moment(n.At)})
	}
	return &body[v1.Summary]{out}, nil
}

func (s *server) clusters(ctx context.Context, p principal, in *listClusters) (*body[v1.Clusters], error) {
	found, err := s.Store.Clusters(ctx, p.tenant, result.Severity(in.Severity), in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := v1.Clusters{Clusters: []v1.Cluster{}, More: len(found) > in.Limit}
	for i := range found[:min(len(found), in.Limit)] {
		out.Clusters = append(out.Clusters, clusterDocument(&found[i]))
	}
	return &body[v1.Clusters]{out}, nil
}

func (s *server) cluster(ctx context.Context, p principal, in *clusterName) (*body[v1.Cluster], error) {
	found, err := s.Store.Cluster(ctx, p.tenant, in.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, problemf(http.StatusNotFound, "no device shows this finding now")
	}
	if err != nil {
		return nil, err
	}
	return &body[v1.Cluster]{clusterDocument(&found)}, nil
}

func clusterDocument(c *store.Cluster) v1.Cluster {
	f := &c.Finding
	return v1.Cluster{
		ID: c.ID, Code: f.Code, Severity: f.Severity, Submod: f.Submod, Component: f.Component, Expected: f.Expected,
		Observed: f.Observed, Nearest: f.Nearest, Meaning: f.Meaning, Action: f.Action, Devices: c.Devices,
		Since: c.Since.UTC(), Models: values(c.Models), Groups: values(c.Groups),
	}
}

func values(list []store.ValueCount) []v1.ValueCount {
	out := make([]v1.ValueCount, len(list))
	for i, v := range list {
		out[i] = v1.ValueCount{Value: v.Value, Devices: v.Devices}
	}
	return out
}

// steps are the lengths of steps of a history.
var steps = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

// stepOf returns the shortest round step of which so many make up a time: at most points, whatever it takes.
func stepOf(long time.Duration, points int) time.Duration {
	for _, step := range steps {
		if long <= time.Duration(points-1)*step {
			return step
		}
	}
	day := 24 * time.Hour
	return (long/time.Duration(points-1) + day).Truncate(day)
}

func (s *server) fleetHistory(ctx context.Context, p principal, in *getHistory) (*body[v1.History], error) {
	now := s.Now()
	from, to := in.From, in.To
	if to.IsZero() {
		to = now
	}
	if from.IsZero() {
		from = to.Add(-24 * time.Hour)
	}
	if !from.Before(to) || from.Before(now.Add(-maxHistory)) || to.After(now.Add(time.Hour)) {
		return nil, problemf(http.StatusUnprocessableEntity,
			"from and to: want a time of the last %d days that does not end in the future, from before to", maxHistory/(24*time.Hour))
	}
	step := stepOf(to.Sub(from), in.Points)
	points := int((to.Sub(from)+step-1)/step) + 1
	found, err := s.Store.History(ctx, p.tenant, to, now, step, points)
	if err != nil {
		return nil, err
	}
	out := v1.History{Step: int64(step / time.Second), States: found.States, Reports: found.Reports}
	for _, at := range found.At {
		out.At = append(out.At, at.Unix())
	}
	out.From = found.At[0].UTC()
	return &body[v1.History]{out}, nil
}

func (s *server) changes(ctx context.Context, p principal, in *page) (*body[v1.Changes], error) {
	found, err := s.Store.Changes(ctx, p.tenant, in.Before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := v1.Changes{Changes: []v1.Change{}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Next = found[in.Limit-1].Seq
	}
	for _, c := range found {
		out.Changes = append(out.Changes, v1.Change{
			Seq: c.Seq, At: c.At.UTC(), Device: c.Device, Label: c.Label, Model: strings.TrimSpace(c.Vendor + " " + c.Model),
			From: c.From, To: c.To, Why: c.Why,
		})
	}
	return &body[v1.Changes]{out}, nil
}

func (s *server) facets(ctx context.Context, p principal, _ *empty) (*body[v1.Facets], error) {
	found, err := s.Store.Facets(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	out := v1.Facets{
		Vendors: values(found.Vendors), Models: values(found.Models), Firmwares: values(found.Firmwares),
		Groups: values(found.Groups), Codes: values(found.Codes), Labels: make(map[string][]v1.ValueCount, len(found.Labels)),
	}
	for name, list := range found.Labels {
		out.Labels[name] = values(list)
	}
	return &body[v1.Facets]{out}, nil
}
