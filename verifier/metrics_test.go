package verifier

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"
)

var (
	descName   = regexp.MustCompile(`fqName: "([^"]+)"`)
	metricName = regexp.MustCompile(`\b(?:probity|process|go)_[a-z_]+\b`)
)

// shown returns the names of all metrics that a verifier shows, those of histograms with their parts.
func shown(t *testing.T, r *prometheus.Registry) map[string]bool {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		r.Describe(descs)
		close(descs)
	}()
	out := make(map[string]bool)
	for d := range descs {
		m := descName.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("description %s has no name", d)
		}
		for _, part := range []string{"", "_bucket", "_count", "_sum"} {
			out[m[1]+part] = true
		}
		for label := range strings.FieldsSeq(d.String()) {
			if strings.Contains(label, "device,") || strings.Contains(label, "{device") {
				t.Errorf("%s has a label for devices", m[1])
			}
		}
	}
	return out
}

// panel is what of a Grafana panel matters here.
type panel struct {
	ID          int    `json:"id"`
	Title       string `json:"title"`
	Type        string `json:"type"`
	Description string `json:"description"`
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

// ruleFile is a file of Prometheus' alerting rules.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// TestMetricsFiles: the Grafana dashboard and the alerting rules name only metrics that a verifier shows, and the dashboard
// has no panel without a query or on top of another.
func TestMetricsFiles(t *testing.T) {
	v := start(t, testConfig(t))
	known := shown(t, v.metrics)
	used := make(map[string]bool)
	check := func(where, expr string) {
		t.Helper()
		names := metricName.FindAllString(expr, -1)
		if len(names) == 0 {
			t.Errorf("%s: %q names no metric", where, expr)
		}
		for _, name := range names {
			used[name] = true
			if !known[name] {
				t.Errorf("%s names %s, which a verifier does not show", where, name)
			}
		}
		if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") {
			t.Errorf("%s: %q: brackets do not match", where, expr)
		}
	}
	b, err := os.ReadFile(filepath.Join("metrics", "grafana.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal(b, &dashboard); err != nil || len(dashboard.Panels) < 20 {
		t.Fatalf("grafana.json: %d panels, %v", len(dashboard.Panels), err)
	}
	taken, ids := make(map[[2]int]string), make(map[int]bool)
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || p.Type != "row" && (len(p.Targets) == 0 || p.Description == "") {
			t.Errorf("panel %q: number %d twice, too wide, without query or without description", p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			check("panel "+p.Title, target.Expr)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" {
					t.Fatalf("panel %q is on top of %q", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
	}
	if b, err = os.ReadFile(filepath.Join("metrics", "prometheus-rules.yml")); err != nil {
		t.Fatal(err)
	}
	var rules ruleFile
	if err := yaml.Unmarshal(b, &rules); err != nil || len(rules.Groups) == 0 {
		t.Fatalf("prometheus-rules.yml: %v", err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			check("rule "+r.Alert, r.Expr)
			if r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("rule %q lacks a name, a severity, a summary or a description", r.Alert)
			}
		}
	}
	for _, name := range []string{"probity_devices", "probity_alerts", "probity_alert_deliveries", "probity_appraisal_seconds_bucket"} {
		if !used[name] {
			t.Errorf("neither file shows %s", name)
		}
	}
}
