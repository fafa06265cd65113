package main

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// Sizes of a screen that does not tell its own, and what is kept free.
const (
	usualColumns = 80
	usualLines   = 24
	frameLines   = 4 // head, blank, blank, foot
)

// size returns columns and lines of the screen.
func (m *topModel) size() (columns, lines int) {
	columns, lines = m.width, m.height
	if columns < 1 {
		columns = usualColumns
	}
	if lines < 1 {
		lines = usualLines
	}
	return columns, lines
}

// pageLines is how many lines stand between head and foot.
func (m *topModel) pageLines() int {
	_, lines := m.size()
	return max(lines-frameLines, 1)
}

// View implements tea.Model.
func (m *topModel) View() string {
	columns, _ := m.size()
	var body []string
	switch m.screen {
	case fleetScreen:
		body = m.fleetView()
	case devicesScreen:
		body = m.devicesView()
	case pageScreen:
		body = m.page[min(m.scroll, len(m.page)):]
	}
	if n := m.pageLines(); len(body) > n {
		body = body[:n]
	}
	for len(body) < m.pageLines() {
		body = append(body, "")
	}
	lines := append([]string{m.app.paint(clip(m.head(), columns), bold), ""}, body...)
	return strings.Join(append(lines, "", m.foot(columns)), "\n")
}

// head says what is shown, of which verifier, and how old it is.
func (m *topModel) head() string {
	host := m.client.base
	if u, err := url.Parse(host); err == nil {
		host = u.Host
	}
	how := "looks every " + roughly(topEvery)
	if m.live {
		how = "live"
	}
	title := fmt.Sprintf("probity top  %s  %s  %s", safe(host), m.fleet.at.Format(time.TimeOnly), how)
	switch m.screen {
	case devicesScreen:
		title += "  devices of cluster " + safe(m.devices.cluster.ID)
	case pageScreen:
		title += "  " + safe(m.title)
	}
	return title
}

// foot says what went wrong, what is waited for, or what can be done.
func (m *topModel) foot(columns int) string {
	switch {
	case m.lost != nil:
		text := fmt.Sprintf("shown is what was at %s: %v", m.fleet.at.Format(time.TimeOnly), m.lost)
		return m.app.paint(clip(safe(text), columns), red)
	case m.said != "":
		return m.app.paint(clip(safe(m.said), columns), red)
	case m.waiting != "":
		return clip(safe("asking for "+m.waiting+" ..."), columns)
	}
	text := "up/down choose  enter open  r look now  q end"
	if m.screen != fleetScreen {
		text = "up/down move  enter open  esc back  q end"
	}
	return clip(text, columns)
}

// fleetView shows counts, clusters and changes.
func (m *topModel) fleetView() []string {
	lines := m.counts()
	room := max(m.pageLines()-len(lines)-5, 2) // titles, headings and a blank
	clusters, changes := len(m.fleet.clusters), len(m.fleet.changes)
	forClusters := min(clusters, max(room/2, room-changes))
	at := m.cursor[0]
	lines = append(lines, m.app.paint(clusterTitle(&m.fleet.summary), bold))
	if clusters > 0 {
		lines = append(lines, m.clusterRows(at, forClusters)...)
	}
	lines = append(lines, "", m.app.paint("What changed", bold))
	if changes == 0 {
		return append(lines, "nothing yet")
	}
	return append(lines, m.changeRows(at-clusters, room-forClusters)...)
}

func clusterTitle(s *v1.Summary) string {
	if s.Clusters == 0 {
		return "No device fails"
	}
	return count(s.Clusters, "cluster") + " of identical failures"
}

// counts shows how many devices are in each state.
func (m *topModel) counts() []string {
	columns, _ := m.size()
	s := &m.fleet.summary
	room := max(columns-40, 0)
	lines := make([]string, 0, len(states)+3)
	for _, state := range states {
		n := s.States[state]
		drawn := ""
		if n > 0 && s.Total > 0 {
			drawn = strings.Repeat("#", min(max(1, n*room/s.Total), room))
		}
		text := fmt.Sprintf("%-15s %11s %8s  %s", state, grouped(n), share(n, s.Total), drawn)
		colour := stateColour(state)
		if n == 0 {
			colour = ""
		}
		lines = append(lines, m.app.paint(clip(text, columns), colour))
	}
	all := fmt.Sprintf("%-15s %11s", "all", grouped(s.Total))
	if s.Pending > 0 {
		all += "   " + waits(s.Pending) + " for approval"
	}
	return append(lines, clip(all, columns), "")
}

// window returns which of n rows are shown so that the one at the cursor is.
func window(n, at, room int) (from, to int) {
	room = min(max(room, 1), n)
	from = max(min(at-room/2, n-room), 0)
	return from, from + room
}

// sheet returns a table as lines that fit on the screen.
func (m *topModel) sheet(fill func(t *table), heads ...string) []string {
	columns, _ := m.size()
	narrow := *m.app
	narrow.columns, narrow.output = columns, "table"
	t := narrow.table(append([]string{" "}, heads...)...)
	t.width = textWidth
	fill(t)
	var text bytes.Buffer
	_ = t.write(&text) // a buffer takes everything
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if !m.app.colour { // paint would be cut
		for i, l := range lines {
			lines[i] = clip(l, columns)
		}
	}
	return lines
}

// pointer marks the row at the cursor.
func pointer(here bool) cell {
	if here {
		return cell{">", bold}
	}
	return cell{text: " "}
}

func (m *topModel) clusterRows(at, room int) []string {
	list := m.fleet.clusters
	from, to := window(len(list), min(max(at, 0), len(list)-1), room)
	return m.sheet(func(t *table) {
		for i, c := range list[from:to] {
			t.rows = append(t.rows, []cell{
				pointer(from+i == at),
				{string(c.Severity), severityColour(c.Severity)},
				{text: grouped(c.Devices)},
				{text: c.Code},
				{text: c.Component},
				{text: values(c.Models)},
				{text: ago(&c.Since)},
			})
		}
	}, "SEVERITY", "DEVICES", "FINDING", "COMPONENT", "MODELS", "SINCE")
}

func (m *topModel) changeRows(at, room int) []string {
	list := m.fleet.changes
	from, to := window(len(list), max(at, 0), room)
	return m.sheet(func(t *table) {
		for i, c := range slices.Clip(list[from:to]) {
			name := c.Label
			if name == "" {
				name = clipID(c.Device)
			}
			t.rows = append(t.rows, []cell{
				pointer(from+i == at),
				{text: ago(&c.At)},
				{text: name},
				{string(c.From), stateColour(c.From)},
				{string(c.To), stateColour(c.To)},
				{text: c.Why},
			})
		}
	}, "WHEN", "DEVICE", "FROM", "TO", "WHY")
}

// devicesView shows the devices of a cluster.
func (m *topModel) devicesView() []string {
	columns, _ := m.size()
	c := &m.devices.cluster
	lines := []string{
		m.app.paint(clip(safe(fmt.Sprintf("%s: %s", c.Component, c.Meaning)), columns), severityColour(c.Severity)),
		clip(safe("what to do: "+c.Action), columns), "",
	}
	list := m.devices.list.Devices
	if len(list) == 0 {
		return append(lines, "no device shows it any more")
	}
	from, to := window(len(list), m.cursor[1], m.pageLines()-len(lines)-2)
	lines = append(lines, m.sheet(func(t *table) {
		for i := range list[from:to] {
			d := &list[from+i]
			t.rows = append(t.rows, []cell{
				pointer(from+i == m.cursor[1]),
				{text: clipID(d.ID)},
				{text: d.Label},
				{string(d.State), stateColour(d.State)},
				{text: d.Group},
				{text: strings.TrimSpace(d.Vendor + " " + d.Model)},
				{text: d.Firmware},
				{text: ago(d.LastSeen)},
			})
		}
	}, "DEVICE", "LABEL", "STATE", "GROUP", "MODEL", "FIRMWARE", "LAST SEEN")...)
	if m.devices.list.Next != "" {
		lines = append(lines, fmt.Sprintf("the first %d of %s", len(list), count(c.Devices, "device")))
	}
	return lines
}
