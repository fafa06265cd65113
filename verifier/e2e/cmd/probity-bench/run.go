package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/probity-attest/probity/verifier"
)

// bench is one measurement: ours beside a reference, both run in turns so that what else the machine does falls on both.
type bench struct {
	name      string
	unit      int // entries in one run, for a figure per entry; 0: none
	ours      func() error
	reference string
	theirs    func() error
	bar       string // what DESIGN section 9 asks for
	met       func(r row) bool
	close     func()
}

// row is what is written for machines.
type row struct {
	Name        string  `json:"name"`
	OursNS      float64 `json:"ours_ns"`
	Reference   string  `json:"reference"`
	ReferenceNS float64 `json:"reference_ns"`
	Ratio       float64 `json:"ratio"` // reference_ns / ours_ns: above 1 ours is faster
	PerEntryNS  float64 `json:"per_entry_ns,omitempty"`
	Bar         string  `json:"bar,omitempty"`
	Met         *bool   `json:"met,omitempty"`
}

const (
	rounds = 15
	slice  = 60 * time.Millisecond // of each side in each round
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("probity-bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("json", "", "write the figures to this `FILE` too")
	testdata := flags.String("testdata", "testdata", "`FOLDER` of the captured logs")
	if flags.Parse(args) != nil {
		return 2
	}
	verifier.TuneGC() // as the verifier does
	rows, err := measureAll(ctx, *testdata, stderr)
	if err == nil {
		err = report(stdout, rows)
	}
	if err == nil && *file != "" {
		err = writeJSON(*file, rows)
	}
	if err != nil {
		fmt.Fprintf(stderr, "probity-bench: %v\n", err)
		return 1
	}
	return 0
}

func measureAll(ctx context.Context, testdata string, progress io.Writer) ([]row, error) {
	var rows []row
	for _, prepare := range []func(context.Context, string) (*bench, error){
		steady, firstSight, imaList, agentAttest,
		flashHash, manifestCreate, manifestSign, manifestVerify, manifestCompile, imaLookup, imageDiff,
	} {
		b, err := prepare(ctx, testdata)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(progress, "measuring %s ...\n", b.name)
		r, err := b.measure()
		if b.close != nil {
			b.close()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.name, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// measure runs both sides in turns and takes the medians, and the median of the rounds' ratios.
func (b *bench) measure() (row, error) {
	var ours, theirs, ratios []float64
	for i := range rounds + 1 {
		o, err := timed(b.ours)
		if err != nil {
			return row{}, err
		}
		t, err := timed(b.theirs)
		if err != nil {
			return row{}, err
		}
		if i == 0 {
			continue // caches and branch predictors warm up
		}
		ours, theirs, ratios = append(ours, o), append(theirs, t), append(ratios, t/o)
	}
	r := row{
		Name: b.name, OursNS: median(ours), Reference: b.reference, ReferenceNS: median(theirs), Ratio: median(ratios), Bar: b.bar,
	}
	if b.unit > 0 {
		r.PerEntryNS = r.OursNS / float64(b.unit)
	}
	if b.met != nil {
		met := b.met(r)
		r.Met = &met
	}
	return r, nil
}

// timed returns nanoseconds per call.
func timed(f func() error) (float64, error) {
	start := time.Now()
	for n := 1; ; n++ {
		if err := f(); err != nil {
			return 0, err
		}
		if spent := time.Since(start); spent >= slice {
			return float64(spent.Nanoseconds()) / float64(n), nil
		}
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func report(out io.Writer, rows []row) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "benchmark\tours\treference\tratio\tbar\t\treference is\t")
	for _, r := range rows {
		ours := time.Duration(r.OursNS).Round(100 * time.Nanosecond).String()
		if r.PerEntryNS > 0 {
			ours += fmt.Sprintf(" (%.0f ns an entry)", r.PerEntryNS)
		}
		met := ""
		if r.Met != nil {
			met = map[bool]string{true: "met", false: "MISSED"}[*r.Met]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%s\t%s\t%s\t\n", r.Name, ours,
			time.Duration(r.ReferenceNS).Round(100*time.Nanosecond), r.Ratio, r.Bar, met, r.Reference)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "ratio = reference / ours; medians of %d rounds in which both sides run in turns\n", rounds)
	return err
}

func writeJSON(file string, rows []row) error {
	b, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
