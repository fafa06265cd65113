package web

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

func (p *page) alertChannels() error {
	v := tellingView{Tabs: p.alertTabs()}
	var err error
	if v.Channels, v.Names, err = p.channels(); err != nil {
		return err
	}
	return p.show("alertchannels", "Alert channels", &v)
}

// channelView is the form of one channel.
type channelView struct {
	Tabs    []any
	Channel v1.AlertChannel
	New     bool
	Kinds   []channelKind
}

// channelKind is a way to tell alerts.
type channelKind struct{ Kind, Name, Target, Hint string }

var channelKinds = []channelKind{
	{"webhook", "Webhook", "https://example.com/hook", "Signed with HMAC-SHA-256 under the secret."},
	{
		"alertmanager", "Prometheus Alertmanager", "https://alertmanager.example.com",
		"Version 2 of its API; the secret is a bearer token, if it wants one.",
	},
	{"syslog", "Syslog (RFC 5424, CEF)", "tls://siem.example.com:6514", "udp://, tcp:// or tls:// with HOST:PORT."},
	{
		"email", "E-mail", "smtps://mail.example.com:465",
		"smtp:// (STARTTLS) or smtps:// with HOST:PORT; the secret is the password.",
	},
}

// channelName says a kind of channel in words.
func channelName(kind string) string {
	for _, k := range channelKinds {
		if k.Kind == kind {
			return k.Name
		}
	}
	return kind
}

// KindName says a kind of channel in words.
func (v *tellingView) KindName(kind string) string { return channelName(kind) }

func (p *page) alertChannel() error {
	v := channelView{Tabs: p.alertTabs(), Kinds: channelKinds}
	id := p.r.PathValue("id")
	if id == newID {
		v.New, v.Channel.Kind = true, channelKinds[0].Kind
		return p.show("alertchannel", "New alert channel", &v)
	}
	list, _, err := p.channels()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(c v1.AlertChannel) bool { return c.ID == id })
	if i < 0 {
		return p.notFound()
	}
	v.Channel = list[i]
	return p.show("alertchannel", v.Channel.Name, &v)
}

// saveChannel makes a channel, or changes the one that the address names. A secret that is left empty stays as it was.
func (p *page) saveChannel() error {
	f := p.r.PostForm
	in := v1.AlertChannel{
		Name: strings.TrimSpace(f.Get("name")), Kind: f.Get("kind"), Target: strings.TrimSpace(f.Get("target")),
		To:   listOf(f.Get("to")),
		From: strings.TrimSpace(f.Get("from")), User: strings.TrimSpace(f.Get("user")), Secret: f.Get("secret"),
		Disabled: f.Get("disabled") == "yes",
	}
	method, path := http.MethodPost, "/v1/alert-channels"
	if id := p.r.PathValue("id"); id != "" {
		method, path = http.MethodPut, pathTo("v1", "alert-channels", id)
		in.ID = id
	}
	if err := p.save(method, path, &in); err != nil {
		return err
	}
	return p.done("/alerts/channels", "The channel "+in.Name+" is set up. Send a test to see that it works.")
}

// readOnly are members of documents that only the verifier writes: it refuses them in requests.
var readOnly = []string{"id", "created", "has_secret", "last_sent", "failing"}

// save sends a document without the members that are not the client's to write.
func (p *page) save(method, path string, in any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	for _, name := range readOnly {
		delete(members, name)
	}
	return p.api(method, path, members, nil)
}

func (p *page) testChannel() error {
	var d v1.Delivery
	if err := p.api(http.MethodPost, pathTo("v1", "alert-channels", p.r.PathValue("id"), "test"), nil, &d); err != nil {
		return err
	}
	if d.State != "sent" {
		p.setNotice(notice{Text: "The test did not arrive at " + d.Channel + ": " + d.Error, Problem: true})
		return p.redirect("/alerts/channels")
	}
	return p.done("/alerts/channels", "The test arrived at "+d.Channel+".")
}

func (p *page) removeChannel() error {
	if err := p.api(http.MethodDelete, pathTo("v1", "alert-channels", p.r.PathValue("id")), nil, nil); err != nil {
		return err
	}
	return p.done("/alerts/channels", "The channel was deleted.")
}
