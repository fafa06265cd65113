package main

import (
	"context"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// screen is what top shows.
type screen int

const (
	fleetScreen screen = iota
	devicesScreen
	pageScreen
)

// topModel is what top knows. Bubble Tea hands it messages one after the other.
type topModel struct {
	ctx           context.Context
	app           *app
	client        *client
	width, height int

	fleet   fleetMsg
	lost    error // why the newest look failed; nil: it did not
	looking bool
	news    bool // something happened that was not looked at
	live    bool // the verifier tells what happens

	screen  screen
	below   screen // where back leads from a page
	waiting string // what was asked for
	said    string // what went wrong with it
	cursor  [2]int // of the fleet and of the devices
	devices devicesMsg
	page    []string
	title   string // of the page
	scroll  int
}

func newTopModel(ctx context.Context, a *app, c *client) *topModel {
	m := &topModel{ctx: ctx, app: a, client: c}
	m.width, m.height = terminalSize(a.stdout)
	return m
}

// Init implements tea.Model.
func (m *topModel) Init() tea.Cmd { return m.later(topEvery) }

// later looks after a time.
func (m *topModel) later(d time.Duration) tea.Cmd {
	return tea.Tick(d, func(time.Time) tea.Msg { return lookMsg{} })
}

// look asks for the fleet, unless that was asked already.
func (m *topModel) look() tea.Cmd {
	if m.looking {
		return nil
	}
	m.looking, m.news = true, false
	return func() tea.Msg { return m.client.lookAtFleet(m.ctx) }
}

// take keeps a look. One that failed leaves what was seen last.
func (m *topModel) take(f fleetMsg) {
	m.looking = false
	m.lost = f.err
	if f.err != nil {
		return
	}
	m.fleet = f
	m.cursor[0] = min(m.cursor[0], max(len(f.clusters)+len(f.changes)-1, 0))
}

// Update implements tea.Model.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case lookMsg:
		return m, tea.Batch(m.look(), m.later(topEvery))
	case newsMsg:
		m.live = true
		if !m.news && !m.looking {
			m.news = true
			return m, tea.Tick(topAtOnce, func(time.Time) tea.Msg { return newsDueMsg{} })
		}
		m.news = true
	case newsDueMsg:
		return m, m.look()
	case fleetMsg:
		again := m.news
		m.take(msg)
		if again {
			return m, tea.Tick(topAtOnce, func(time.Time) tea.Msg { return newsDueMsg{} })
		}
	case devicesMsg:
		m.waiting = ""
		if m.said = whyNot(msg.err); msg.err == nil {
			m.devices, m.screen, m.cursor[1] = msg, devicesScreen, 0
		}
	case pageMsg:
		m.waiting = ""
		if m.said = whyNot(msg.err); msg.err == nil {
			m.below, m.screen, m.scroll = m.screen, pageScreen, 0
			m.title, m.page = msg.device, strings.Split(strings.TrimRight(msg.text, "\n"), "\n")
		}
	case tea.KeyMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

type newsDueMsg struct{} // what happened is looked at now

func whyNot(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// key acts on a key.
func (m *topModel) key(name string) tea.Cmd {
	switch name {
	case "q", "ctrl+c":
		return tea.Quit
	case "r":
		m.said = ""
		return m.look()
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup", "b":
		m.move(-m.pageLines())
	case "pgdown", " ", "f":
		m.move(m.pageLines())
	case "home", "g":
		m.move(-1 << 20)
	case "end", "G":
		m.move(1 << 20)
	case "enter", "right", "l":
		return m.open()
	case "esc", "backspace", "left", "h":
		m.back()
	}
	return nil
}

// move moves the cursor or scrolls.
func (m *topModel) move(by int) {
	within := func(n, count int) int { return max(min(n+by, count-1), 0) }
	switch m.screen {
	case fleetScreen:
		m.cursor[0] = within(m.cursor[0], len(m.fleet.clusters)+len(m.fleet.changes))
	case devicesScreen:
		m.cursor[1] = within(m.cursor[1], len(m.devices.list.Devices))
	case pageScreen:
		m.scroll = within(m.scroll, max(len(m.page)-m.pageLines()+1, 1))
	}
}

func (m *topModel) back() {
	m.said, m.waiting = "", ""
	switch m.screen {
	case devicesScreen:
		m.screen = fleetScreen
	case pageScreen:
		m.screen = m.below
	}
}

// open asks for what the cursor is on.
func (m *topModel) open() tea.Cmd {
	m.said = ""
	switch n := m.cursor[min(int(m.screen), 1)]; {
	case m.waiting != "" || m.screen == pageScreen:
	case m.screen == devicesScreen && n < len(m.devices.list.Devices):
		d := m.devices.list.Devices[n]
		return m.explain(d.ID, d.Label)
	case m.screen == fleetScreen && n < len(m.fleet.clusters):
		cluster := m.fleet.clusters[n]
		m.waiting = "devices of the cluster"
		return func() tea.Msg { return m.client.devicesOf(m.ctx, cluster) }
	case m.screen == fleetScreen && n-len(m.fleet.clusters) < len(m.fleet.changes):
		change := m.fleet.changes[n-len(m.fleet.clusters)]
		return m.explain(change.Device, change.Label)
	}
	return nil
}

func (m *topModel) explain(id, label string) tea.Cmd {
	m.waiting = named(v1.Device{ID: id, Label: label})
	columns, title := m.width, m.waiting
	return func() tea.Msg {
		page := m.app.explanationOf(m.ctx, m.client, id, columns)
		page.device = title
		return page
	}
}
