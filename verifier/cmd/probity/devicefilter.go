package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// filterFlags are the flags that select devices.
type filterFlags struct {
	v1.DeviceFilter
	states, labels []string
}

// register adds the flags and what completes their values.
func (f *filterFlags) register(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.states, "state", nil,
		"`STATE`: trusted, warning, untrusted, stale, never-attested or unsupported; several with commas")
	flags.StringVar(&f.Status, "status", "", "`STATUS`: approved, pending or active")
	flags.StringVar(&f.Vendor, "vendor", "", "`NAME` of the vendor, as the device reports it")
	flags.StringVar(&f.Model, "model", "", "`NAME` of the model, as the device reports it")
	flags.StringVar(&f.Firmware, "firmware", "", "`VERSION` of the firmware, as the device reports it")
	flags.StringVar(&f.Group, "group", "", "`NAME` of the group")
	flags.StringVar(&f.Level, "level", "", "identity `LEVEL`: certified, pinned, first-use or software")
	flags.StringVar(&f.Finding, "finding", "", "`CODE` of a finding of the newest result, such as boot-event-unknown")
	flags.StringVar(&f.Cluster, "cluster", "", "`ID` of a cluster: see probity fleet clusters")
	flags.StringVar(&f.Digest, "digest", "", "`DIGEST` that the device has now, in hexadecimal digits")
	flags.StringArrayVar(&f.labels, "label", nil, "a label, as `NAME=VALUE`; may be given several times")
	flags.StringVarP(&f.Query, "query", "q", "", "`TEXT`: part of label, model, vendor or id")
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = string(s)
	}
	complete := func(flag string, f completer) { _ = cmd.RegisterFlagCompletionFunc(flag, f) }
	complete("state", fixed(names...))
	complete("status", fixed("approved", "pending", "active"))
	complete("level", fixed(string(result.Certified), string(result.Pinned), string(result.FirstUse), string(result.Software)))
	complete("vendor", a.completeFacet(func(f *v1.Facets) []v1.ValueCount { return f.Vendors }))
	complete("model", a.completeFacet(func(f *v1.Facets) []v1.ValueCount { return f.Models }))
	complete("firmware", a.completeFacet(func(f *v1.Facets) []v1.ValueCount { return f.Firmwares }))
	complete("group", a.completeFacet(func(f *v1.Facets) []v1.ValueCount { return f.Groups }))
	complete("finding", a.completeFacet(func(f *v1.Facets) []v1.ValueCount { return f.Codes }))
	complete("cluster", a.completeClusters)
}

// filter returns what the flags select.
func (f *filterFlags) filter() (v1.DeviceFilter, error) {
	out := f.DeviceFilter
	for _, s := range f.states {
		if !slices.Contains(states, result.State(s)) {
			return out, fmt.Errorf("--state %q: want trusted, warning, untrusted, stale, never-attested or unsupported", s)
		}
		out.State = append(out.State, result.State(s))
	}
	for _, l := range f.labels {
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" {
			return out, fmt.Errorf("--label %q: want NAME=VALUE", l)
		}
		if out.Labels == nil {
			out.Labels = map[string]string{}
		}
		out.Labels[name] = value
	}
	return out, nil
}

// isEmpty reports whether a filter selects all devices.
func isEmpty(f *v1.DeviceFilter) bool { return len(filterQuery(f)) == 0 }

// filterQuery returns a filter as parameters of the list of devices.
func filterQuery(f *v1.DeviceFilter) url.Values {
	q := url.Values{}
	for _, s := range f.State {
		q.Add("state", string(s))
	}
	for name, value := range map[string]string{
		"status": f.Status, "vendor": f.Vendor, "model": f.Model, "firmware": f.Firmware, "group": f.Group, "level": f.Level,
		"finding": f.Finding, "cluster": f.Cluster, "digest": f.Digest, "q": f.Query,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, name := range keysOf(f.Labels) {
		q.Add("label", name+"="+f.Labels[name])
	}
	return q
}

// keysOf returns the keys of a map in order.
func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// completeFacet offers values that devices have.
func (a *app) completeFacet(which func(*v1.Facets) []v1.ValueCount) completer {
	return asked(a, "/v1/fleet/facets", nil, func(f v1.Facets) (out []string) {
		for _, v := range which(&f) {
			out = append(out, offer(v.Value, count(v.Devices, "device")))
		}
		return out
	})
}

func (a *app) completeClusters(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return asked(a, "/v1/fleet/clusters", url.Values{"limit": {"50"}}, func(list v1.Clusters) (out []string) {
		for _, c := range list.Clusters {
			out = append(out, offer(c.ID, count(c.Devices, "device")+": "+c.Component))
		}
		return out
	})(cmd, args, typed)
}
