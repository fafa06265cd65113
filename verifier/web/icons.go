package web

import "html/template"

// icons are drawn on 16x16 units with lines of 1.5, in the colour of the words beside them.
var icons = map[string]string{
	// States: each has a shape of its own, so that none is known by its colour alone.
	"trusted":        `<circle cx="8" cy="8" r="6.25"/><path d="m5.2 8.2 2 2 3.7-4"/>`,
	"warning":        `<path d="M8 2.2 14.4 13.4H1.6Z"/><path d="M8 6.4v3.4M8 11.4v.2"/>`,
	"untrusted":      `<path d="M5.4 1.75h5.2l3.65 3.65v5.2l-3.65 3.65H5.4L1.75 10.6V5.4Z"/><path d="m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4"/>`,
	"stale":          `<circle cx="8" cy="8" r="6.25"/><path d="M8 4.4V8l2.4 1.6"/>`,
	"never-attested": `<circle cx="8" cy="8" r="6.25" stroke-dasharray="2.4 2.5"/>`,
	"unsupported":    `<circle cx="8" cy="8" r="6.25"/><path d="M6.2 6.3a1.9 1.9 0 1 1 2.7 1.7c-.6.3-.9.7-.9 1.4M8 11.3v.2"/>`,

	"info":     `<circle cx="8" cy="8" r="6.25"/><path d="M8 7.4v3.8M8 4.8v.2"/>`,
	"fleet":    `<rect x="1.75" y="1.75" width="5" height="5" rx="1"/><rect x="9.25" y="1.75" width="5" height="5" rx="1"/><rect x="1.75" y="9.25" width="5" height="5" rx="1"/><rect x="9.25" y="9.25" width="5" height="5" rx="1"/>`,
	"device":   `<rect x="1.75" y="3" width="12.5" height="4.2" rx="1"/><rect x="1.75" y="8.8" width="12.5" height="4.2" rx="1"/><path d="M4.2 5.1h.2M4.2 10.9h.2"/>`,
	"bell":     `<path d="M8 2a4 4 0 0 1 4 4v2.6l1.4 2.6H2.6L4 8.6V6a4 4 0 0 1 4-4ZM6.6 13.4a1.5 1.5 0 0 0 2.8 0"/>`,
	"search":   `<circle cx="7" cy="7" r="4.75"/><path d="m10.6 10.6 3.4 3.4"/>`,
	"manifest": `<path d="M3.25 1.75h6.2l3.3 3.3v9.2h-9.5Z"/><path d="M9.2 1.9v3.4h3.4M5.6 8.4h4.8M5.6 11h4.8"/>`,
	"vendor":   `<path d="M2 14V6.2l4 2.4V6.2l4 2.4V2.4h4V14Z"/><path d="M5 11.4h.2M8 11.4h.2M11 11.4h.2"/>`,
	"policy":   `<path d="M8 1.75 13.5 4v4c0 3.2-2.3 5.4-5.5 6.3C4.8 13.4 2.5 11.2 2.5 8V4Z"/>`,
	"audit":    `<path d="M5.4 4h8.2M5.4 8h8.2M5.4 12h8.2M2.4 4h.2M2.4 8h.2M2.4 12h.2"/>`,
	"account":  `<circle cx="8" cy="5.2" r="2.95"/><path d="M2.4 14c.5-3 2.7-4.6 5.6-4.6s5.1 1.6 5.6 4.6"/>`,
	"token":    `<circle cx="5" cy="8" r="3.25"/><path d="M8.25 8h6v2.6M11.6 8v2"/>`,
	"tag":      `<path d="M1.75 2.75v5l6.5 6.5 5.5-5.5-6.5-6.5h-5Z"/><path d="M4.7 5.6h.2"/>`,
	"menu":     `<path d="M2 4h12M2 8h12M2 12h12"/>`,
	"close":    `<path d="m3.5 3.5 9 9m0-9-9 9"/>`,
	"check":    `<path d="m2.8 8.6 3.4 3.4 7-7.6"/>`,
	"up":       `<path d="m4 10 4-4 4 4"/>`,
	"down":     `<path d="m4 6 4 4 4-4"/>`,
	"left":     `<path d="m10 3-5 5 5 5"/>`,
	"right":    `<path d="m6 3 5 5-5 5"/>`,
	"arrow":    `<path d="M2.5 8h11M9.5 4l4 4-4 4"/>`,
	"download": `<path d="M8 2v8m-3.4-3.4L8 10l3.4-3.4M2.4 13.6h11.2"/>`,
	"upload":   `<path d="M8 10V2M4.6 5.4 8 2l3.4 3.4M2.4 13.6h11.2"/>`,
	"plus":     `<path d="M8 2.8v10.4M2.8 8h10.4"/>`,
	"copy":     `<rect x="5.25" y="5.25" width="9" height="9" rx="1"/><path d="M10.5 5.25V1.75h-8.75v8.75h3.5"/>`,
	"refresh":  `<path d="M13.4 8A5.4 5.4 0 1 1 11.7 4.1M13.6 1.9v3h-3"/>`,
	"filter":   `<path d="M1.75 3h12.5L9.5 8.6v4.8l-3-1.4V8.6Z"/>`,
	"sun":      `<circle cx="8" cy="8" r="3"/><path d="M8 1.4v1.4M8 13.2v1.4M1.4 8h1.4M13.2 8h1.4M3.3 3.3l1 1M11.7 11.7l1 1M3.3 12.7l1-1M11.7 4.3l1-1"/>`,
	"clock":    `<circle cx="8" cy="8" r="6.25"/><path d="M8 4.4V8l2.4 1.6"/>`,
	"shield":   `<path d="M8 1.75 13.5 4v4c0 3.2-2.3 5.4-5.5 6.3C4.8 13.4 2.5 11.2 2.5 8V4Z"/><path d="m5.6 7.9 1.7 1.7 3.2-3.5"/>`,
	"external": `<path d="M6.5 3.25H2.75v10h10V9.5M9.5 2.75h3.75V6.5M13 3 7.5 8.5"/>`,
}

// icon returns a picture that stands beside words: screen readers skip it.
func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">` +
		icons[name] + `</svg>`)
}
