package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/result"
)

// model returns a screen of a fleet whose devices say hostile things.
func model(t *testing.T, columns, lines int) *topModel {
	t.Helper()
	a := &app{stdout: io.Discard, stderr: io.Discard, output: "table"}
	m := newTopModel(t.Context(), a, &client{base: "https://verifier.test:8443"})
	m.width, m.height = columns, lines
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f := fleetMsg{at: at, summary: v1.Summary{
		Total: 4000, Pending: 1, Clusters: 30, States: map[result.State]int{result.Trusted: 3999, result.Untrusted: 1},
	}}
	for i := range 30 {
		f.clusters = append(f.clusters, v1.Cluster{
			ID: fmt.Sprintf("c%d", i), Code: "boot-event-unknown", Severity: result.Critical, Component: hostile,
			Devices: i + 1, Since: at,
		})
		f.changes = append(f.changes, v1.Change{
			Device: strings.Repeat("ab", 32), Label: fmt.Sprintf("edge-%d", i), From: result.Trusted, To: result.Untrusted,
			Why: hostile, At: at,
		})
	}
	m.take(f)
	return m
}

func press(m *topModel, keys ...string) (cmd tea.Cmd) {
	for _, k := range keys {
		msg := tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)}
		for name, kind := range map[string]tea.KeyType{
			"enter": tea.KeyEnter, "esc": tea.KeyEsc, "up": tea.KeyUp, "down": tea.KeyDown, "pgdown": tea.KeyPgDown, "end": tea.KeyEnd,
			"home": tea.KeyHome, "ctrl+c": tea.KeyCtrlC,
		} {
			if k == name {
				msg = tea.KeyMsg{Type: kind}
			}
		}
		_, cmd = m.Update(msg)
	}
	return cmd
}

// However large the window is, what is shown fits into it, and holds nothing that a terminal would act on.
func TestTopFits(t *testing.T) {
	for _, size := range [][2]int{{200, 60}, {80, 24}, {60, 20}, {100, 5}, {100, 1}, {0, 0}} {
		m := model(t, size[0], size[1])
		columns, lines := m.size()
		for _, keys := range [][]string{nil, {"down"}, {"end"}, {"home"}, {"pgdown"}} {
			press(m, keys...)
			shown := strings.Split(m.View(), "\n")
			if len(shown) > max(lines, frameLines+1) {
				t.Errorf("View() at %v = %d lines", size, len(shown))
			}
			for _, l := range shown {
				if n := utf8.RuneCountInString(l); n > columns {
					t.Errorf("View() at %v has a line of %d columns: %q", size, n, l)
				}
				for _, r := range l {
					if !v1.Prints(r) {
						t.Errorf("View() at %v has %q in %q", size, r, l)
					}
				}
			}
		}
	}
}

func shows(t *testing.T, m *topModel, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(m.View(), want) {
			t.Errorf("View() does not have %q:\n%s", want, m.View())
		}
	}
}

func TestTopShowsTheFleet(t *testing.T) {
	m := model(t, 120, 40)
	shows(t, m, "verifier.test:8443", "12:00:00", "looks every 5 s", "trusted               3,999  >99.9 %",
		"1 device waits for approval",
		"30 clusters of identical failures", ">  critical", "What changed", "edge-0", "q end", `R7\x1b[2J`)
	press(m, "end")
	shows(t, m, "edge-29")
	if m.Update(newsMsg{}); !m.live {
		t.Error("after an event the screen is not live")
	}
	shows(t, m, "  live")
}

// A screen that went stale says so and keeps what it showed.
func TestTopLosesTheVerifier(t *testing.T) {
	m := model(t, 120, 40)
	m.Update(fleetMsg{at: time.Now(), err: errors.New("cannot reach the verifier: " + hostile)})
	shows(t, m, "shown is what was at 12:00:00: cannot reach the verifier", "3,999")
	if strings.Contains(m.View(), "\x1b") {
		t.Errorf("View() = %q, want no escape", m.View())
	}
	f := m.fleet
	f.at = f.at.Add(time.Minute)
	m.Update(f)
	shows(t, m, "12:01:00", "q end")
}

// From a cluster to its devices to the explanation of one, and back.
func TestTopGoesDeeper(t *testing.T) {
	m := model(t, 120, 40)
	if press(m, "j", "enter") == nil || m.waiting == "" {
		t.Fatalf("enter on a cluster asks for nothing: waiting %q", m.waiting)
	}
	if press(m, "enter") != nil {
		t.Error("enter asks again while an answer is awaited")
	}
	m.Update(devicesMsg{cluster: m.fleet.clusters[1], list: v1.Devices{Devices: []v1.Device{
		{ID: strings.Repeat("ab", 32), Label: "edge-7", State: result.Untrusted, Model: hostile}, {ID: strings.Repeat("cd", 32)},
	}, Next: "x"}})
	shows(t, m, "devices of cluster c1", ">  abababababab", "edge-7", "the first 2 of 2 devices", "esc back")
	if press(m, "down", "enter") == nil || m.waiting != "cdcdcdcdcdcd" {
		t.Fatalf("enter on a device: waiting for %q", m.waiting)
	}
	m.Update(pageMsg{device: "cdcdcdcdcdcd", text: strings.Repeat("line\n", 100) + "last\n"})
	shows(t, m, "line")
	press(m, "end")
	shows(t, m, "last")
	press(m, "esc")
	shows(t, m, ">  cdcdcdcdcdcd")
	press(m, "esc", "esc")
	shows(t, m, "What changed")

	// A change leads to its device at once; an answer that fails is told.
	press(m, "end", "enter")
	if m.waiting != "edge-29 (abababababab)" {
		t.Errorf("enter on a change: waiting for %q", m.waiting)
	}
	m.Update(pageMsg{err: errors.New("no such device")})
	shows(t, m, "no such device", "What changed")
	if cmd := press(m, "q"); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not end it")
	}
	if cmd := press(m, "ctrl+c"); cmd == nil || cmd() != tea.Quit() {
		t.Error("ctrl+c does not end it")
	}
}

// Many events are one look, and none is forgotten that came while it looked.
func TestTopLooksOnce(t *testing.T) {
	m := model(t, 120, 40)
	if _, cmd := m.Update(newsMsg{}); cmd == nil {
		t.Fatal("the first event starts nothing")
	}
	if _, cmd := m.Update(newsMsg{}); cmd != nil {
		t.Error("a second event starts a second look")
	}
	if _, cmd := m.Update(newsDueMsg{}); cmd == nil || !m.looking || m.news {
		t.Errorf("it does not look when it is due: looking %t, news %t", m.looking, m.news)
	}
	if cmd := press(m, "r"); cmd != nil {
		t.Error("r looks while it looks")
	}
	m.Update(newsMsg{})
	if _, cmd := m.Update(m.fleet); cmd == nil {
		t.Error("what happened while it looked is forgotten")
	}
}
