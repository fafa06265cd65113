// Package browsertest is a real Chromium for tests and pictures of the dashboard: without a window, without a profile, and
// unable to reach any host but this machine. It remembers what a page asked of whom and what it complained about.
package browsertest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// programs are names of Chromium, Debian's first.
var programs = []string{"chromium", "chromium-browser", "google-chrome"}

// ErrNoBrowser is of a machine without Chromium.
var ErrNoBrowser = errors.New("no chromium here: make deps installs it")

const (
	stepTimeout = time.Minute      // of one action, on a loaded machine
	waitTimeout = 20 * time.Second // for a page to become what a test wants
)

// Config is how a browser is. Its zero value is a desktop in light colours.
type Config struct {
	Width, Height int64 // pixels; 0: 1440x900
	Dark          bool
	NoScript      bool
	Phone         bool // touch, and a width that pages believe
}

// Browser is one window.
type Browser struct {
	ctx context.Context

	mu         sync.Mutex
	requests   []string
	complaints []string
}

// Open starts a browser that ends with ctx or by the function returned.
func Open(ctx context.Context, c Config) (*Browser, context.CancelFunc, error) {
	path := ""
	for _, p := range programs {
		if found, err := exec.LookPath(p); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return nil, nil, ErrNoBrowser
	}
	if c.Width == 0 || c.Height == 0 {
		c.Width, c.Height = 1440, 900
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("ignore-certificate-errors", true), // the server's certificate is made when it starts
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("lang", "en-GB"),
		chromedp.WindowSize(int(c.Width), int(c.Height)),
	)
	allocated, endAllocation := chromedp.NewExecAllocator(ctx, options...)
	b := &Browser{}
	tab, endTab := chromedp.NewContext(allocated, chromedp.WithListener(b.listen))
	b.ctx = tab
	end := func() { endTab(); endAllocation() }
	err := chromedp.Do(tab) // starts it: the browser lives as long as this first context
	if err == nil {
		err = b.dress(c)
	}
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("start chromium: %w", err)
	}
	return b, end, nil
}

// dress sets how the window is.
func (b *Browser) dress(c Config) error {
	size := []chromedp.EmulateViewportOption{}
	if c.Phone {
		size = append(size, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	if err := b.Do(chromedp.EmulateViewport(c.Width, c.Height, size...)); err != nil {
		return err
	}
	scheme := "light"
	if c.Dark {
		scheme = "dark"
	}
	_, err1 := chromedp.Call(b.ctx, network.Enable, network.EnableParams{})
	_, err2 := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		},
	})
	_, err3 := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled,
		emulation.SetScriptExecutionDisabledParams{Value: c.NoScript})
	return errors.Join(err1, err2, err3)
}

func (b *Browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		b.complaints = append(b.complaints, "exception: "+text)
	case *log.EventEntryAdded:
		// Refused connections and statuses are what some tests are about; all else is a fault of the page.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			b.complaints = append(b.complaints, fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text))
		}
	}
}

// Foreign returns the addresses that pages asked for at other hosts than that of base.
func (b *Browser) Foreign(base string) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	own, err := url.Parse(base)
	if err != nil {
		return []string{err.Error()}
	}
	for _, r := range b.requests {
		// What is data asks nobody: the browser draws its own fields for dates with it.
		if u, err := url.Parse(r); err != nil || u.Host != own.Host && u.Scheme != "data" {
			out = append(out, r)
		}
	}
	return out
}

// Requests returns every address that pages asked for.
func (b *Browser) Requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.requests...)
}

// Complaints returns what pages complained about: exceptions, and violations of the Content-Security-Policy.
func (b *Browser) Complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.complaints...)
}

// Do does actions that return nothing.
func (b *Browser) Do(actions ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	return chromedp.Do(ctx, actions...)
}

// Open goes to an address and waits until the page is loaded.
func (b *Browser) Open(address string) error { return b.Do(chromedp.Navigate(address)) }

// Click clicks the first element that is visible.
func (b *Browser) Click(selector string) error {
	if err := b.Do(chromedp.Click(chromedp.CSS(selector))); err != nil {
		return fmt.Errorf("click %s: %w; the page shows: %s", selector, err, b.Text("body"))
	}
	return nil
}

// Follow clicks the first element that is visible and waits until another page has taken the place of this one.
func (b *Browser) Follow(selector string) error {
	if _, err := Eval[bool](b, "document.documentElement.toggleAttribute('data-left', true)"); err != nil {
		return err
	}
	if err := b.Click(selector); err != nil {
		return err
	}
	return b.Until("!document.documentElement.hasAttribute('data-left') && document.readyState === 'complete'")
}

// Type types text into a field.
func (b *Browser) Type(selector, text string) error {
	if err := b.Do(chromedp.SendKeys(chromedp.CSS(selector), text)); err != nil {
		return fmt.Errorf("type into %s: %w; the page shows: %s", selector, err, b.Text("body"))
	}
	return nil
}

// Choose puts a file into a field for files, as a person chooses one.
func (b *Browser) Choose(selector, name string, content []byte) error {
	_, err := Eval[bool](b, fmt.Sprintf(`(() => {
		const files = new DataTransfer();
		files.items.add(new File([Uint8Array.from(atob(%q), (c) => c.charCodeAt(0))], %q));
		document.querySelector(%q).files = files.files;
		return true;
	})()`, base64.StdEncoding.EncodeToString(content), name, selector))
	return err
}

// Press presses keys, wherever the focus is.
func (b *Browser) Press(keys string) error { return b.Do(chromedp.KeyEvent(keys)) }

// Eval returns the value of a JavaScript expression.
func Eval[T any](b *Browser, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression))
}

// SetCookie gives the browser a cookie for a site.
func (b *Browser) SetCookie(site string, c *http.Cookie) error {
	_, err := chromedp.Call(b.ctx, network.SetCookie, network.SetCookieParams{
		Name: c.Name, Value: c.Value, URL: site, Path: "/", Secure: &c.Secure, HTTPOnly: &c.HttpOnly,
	})
	return err
}

// Until waits until a JavaScript expression is true. The error says what the page showed instead.
func (b *Browser) Until(expression string) error {
	deadline := time.Now().Add(waitTimeout)
	var last error
	for time.Now().Before(deadline) {
		ok, err := Eval[bool](b, "Boolean("+expression+")")
		if ok {
			return nil
		}
		last = err // a page that is being left has no answer
		select {
		case <-b.ctx.Done():
			return b.ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("wait until %s: %w; the page shows: %s", expression, errors.Join(last, context.DeadlineExceeded), b.Text("body"))
}

// UntilText waits until an element contains a text.
func (b *Browser) UntilText(selector, text string) error {
	return b.Until(fmt.Sprintf("(document.querySelector(%q)?.innerText ?? '').includes(%q)", selector, text))
}

// Text returns the text of an element as people see it, empty for none.
func (b *Browser) Text(selector string) string {
	s, err := Eval[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return strings.TrimSpace(s)
}

// Address returns the path and query of the page.
func (b *Browser) Address() string {
	s, err := Eval[string](b, "location.pathname + location.search")
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return s
}

// Screenshot returns the page as PNG: what the window shows, or the whole of it.
func (b *Browser) Screenshot(whole bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	if whole {
		return chromedp.Run(ctx, chromedp.FullScreenshot(100))
	}
	shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: "png"})
	return shot.Data, err
}
