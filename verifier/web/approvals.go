package web

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// approvalsOf returns who consented to a manifest; nil where it needs nobody's consent.
func approvalsOf(m *v1.Manifest, me string) *approvals {
	if m.Needed == 0 && len(m.Approvals) == 0 {
		return nil
	}
	a := &approvals{Given: m.Approvals, Needed: m.Needed, Left: max(0, m.Needed-len(m.Approvals))}
	a.Waits = m.State == "submitted" && a.Left > 0
	for i := range a.Given {
		a.Mine = a.Mine || isActor(a.Given[i].Actor, me)
	}
	for i := range m.Endorsements {
		a.Submitted = a.Submitted || isActor(m.Endorsements[i].Actor, me)
	}
	return a
}

// isActor reports whether the name under which events know somebody, such as account:alice, is that of me.
func isActor(actor, me string) bool {
	return me != "" && (actor == me || strings.HasSuffix(actor, ":"+me))
}

// approveManifest consents to a manifest's activation, or refuses it.
func (p *page) approveManifest() error {
	name := p.r.PathValue("name")
	in := v1.NewApproval{Refuse: p.r.PostFormValue("refuse") == "yes", Note: strings.TrimSpace(p.r.PostFormValue("note"))}
	if err := p.api(http.MethodPost, pathTo("v1", "manifests", name, "approvals"), in, nil); err != nil {
		return err
	}
	text := "You approved the manifest."
	if in.Refuse {
		text = "You refused the manifest: it is withdrawn."
	}
	return p.done(pathTo("manifests", name), text)
}

// uploads are manifests that were tried out and may be submitted next: kept in memory for a while, so that what is
// submitted is what was tried out, byte for byte. Each belongs to who uploaded it.
type uploads struct {
	now func() time.Time
	mu  sync.Mutex
	all map[uploadKey]upload
}

type uploadKey struct{ owner, job string }

type upload struct {
	document []byte
	at       time.Time
}

func newUploads(now func() time.Time) *uploads {
	return &uploads{now: now, all: map[uploadKey]upload{}}
}

// keep remembers a document. The oldest give way to it when there are too many or they are too large.
func (u *uploads) keep(owner, job string, document []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	newest := uploadKey{owner, job}
	u.all[newest] = upload{document, u.now()}
	for {
		size := 0
		var oldest uploadKey
		var at time.Time
		for k, d := range u.all {
			size += len(d.document)
			if k != newest && (at.IsZero() || d.at.Before(at)) {
				oldest, at = k, d.at
			}
		}
		if len(u.all) <= 1 || size <= maxHeld && len(u.all) <= maxUploads && u.now().Sub(at) < uploadLifetime {
			return
		}
		delete(u.all, oldest)
	}
}

func (u *uploads) get(owner, job string) ([]byte, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	d, ok := u.all[uploadKey{owner, job}]
	if !ok || u.now().Sub(d.at) >= uploadLifetime {
		return nil, false
	}
	return d.document, true
}

func (u *uploads) drop(owner, job string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.all, uploadKey{owner, job})
}

// owner names who asks, across tenants.
func (p *page) owner() string { return p.me.Tenant + "\x00" + p.me.Kind + "\x00" + p.me.Name }

// upload returns the file that a form brought.
func (p *page) upload(name string) ([]byte, error) {
	f, _, err := p.r.FormFile(name)
	if err != nil {
		return nil, wrongInput("no file was chosen")
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, wrongInput("the file could not be read")
	}
	if len(b) == 0 {
		return nil, wrongInput("the file is empty")
	}
	return b, nil
}
