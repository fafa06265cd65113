package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/store"
)

// deviceExport is the route of the export, which takes as long as it takes.
const deviceExport = "GET /v1/devices/export"

func init() { lasting[deviceExport] = true }

type exportDevices struct {
	SelectDevices
	Format string `query:"format" enum:"csv,json" default:"csv"`
}

func (s *server) registerExport(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "export-devices", Method: http.MethodGet, Path: "/v1/devices/export",
		Summary: "Export all devices that a filter selects, in ascending id",
		Description: "As CSV (RFC 4180) with a header, or as the document of the list of devices without pages. In CSV, cells " +
			"that a spreadsheet would take for a formula begin with an apostrophe. An export that ends early ends without the last " +
			"chunk, so that clients notice.",
		Responses: map[string]*huma.Response{"200": {
			Description: "devices", Content: map[string]*huma.MediaType{
				"text/csv":         {Schema: &huma.Schema{Type: huma.TypeString}},
				"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/Devices"}},
			},
		}},
	}, s.exportDevices)
}

func (s *server) exportDevices(ctx context.Context, p principal, in *exportDevices) (*huma.StreamResponse, error) {
	chosen, err := in.filter()
	if err != nil {
		return nil, err
	}
	f, err := s.selection(p, chosen)
	if err != nil {
		return nil, err
	}
	// The first page is read before anything is said: what fails at once is a problem document.
	f.Limit = exportPage
	page, err := s.Store.Devices(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("export devices: %w", err)
	}
	var format deviceWriter = &csvDevices{}
	if in.Format == "json" {
		format = &jsonDevices{}
	}
	return &huma.StreamResponse{Body: func(out huma.Context) {
		name := "devices-" + f.Now.UTC().Format("20060102T150405Z") + "." + in.Format
		out.SetHeader("Content-Type", format.kind())
		out.SetHeader("Content-Disposition", `attachment; filename="`+name+`"`)
		if err := s.writeDevices(ctx, out, format, f, page); err != nil {
			s.Log.Warn("export of devices ended early", "request", requestOf(ctx).id, "error", err)
			panic(http.ErrAbortHandler) // an end like others would look like the end of the list
		}
	}}, nil
}

// writeDevices writes page by page. A client has streamWrite for each.
func (s *server) writeDevices(
	ctx context.Context, out huma.Context, format deviceWriter, f store.Filter, page []store.Device,
) error {
	var b bytes.Buffer
	w := out.BodyWriter()
	written := 0
	for {
		for i := range page {
			if err := format.write(&b, deviceDocument(&page[i], f.Now), written); err != nil {
				return err
			}
			written++
		}
		last := len(page) < f.Limit
		if last {
			format.end(&b, written)
		}
		if rw, ok := w.(http.ResponseWriter); ok {
			_ = http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(streamWrite)) // tests have none
		}
		if _, err := b.WriteTo(w); err != nil || last {
			return err
		}
		f.After = page[len(page)-1].ID
		var err error
		if page, err = s.Store.Devices(ctx, f); err != nil {
			return err
		}
	}
}

// deviceWriter writes a list of devices in one format.
type deviceWriter interface {
	kind() string // media type
	// write appends a device; n is how many came before it.
	write(b *bytes.Buffer, d v1.Device, n int) error
	// end appends what follows n devices.
	end(b *bytes.Buffer, n int)
}

// jsonDevices writes a v1.Devices.
type jsonDevices struct{}

func (*jsonDevices) kind() string { return "application/json" }

func (*jsonDevices) write(b *bytes.Buffer, d v1.Device, n int) error {
	if n == 0 {
		b.WriteString("{\"devices\":[\n")
	} else {
		b.WriteByte(',')
	}
	return v1.Encode(b, d)
}

func (*jsonDevices) end(b *bytes.Buffer, n int) {
	if n == 0 {
		b.WriteString("{\"devices\":[\n")
	}
	fmt.Fprintf(b, "],\"total\":%d}\n", n)
}

// csvDevices writes CSV (RFC 4180).
type csvDevices struct{}

// csvColumns are the columns, each with what it shows of a device.
var csvColumns = []struct {
	name string
	of   func(*v1.Device) string
}{
	{"id", func(d *v1.Device) string { return d.ID }},
	{"label", func(d *v1.Device) string { return d.Label }},
	{"group", func(d *v1.Device) string { return d.Group }},
	{"status", func(d *v1.Device) string { return d.Status }},
	{"state", func(d *v1.Device) string { return string(d.State) }},
	{"verdict", func(d *v1.Device) string { return string(d.Verdict) }},
	{"since", func(d *v1.Device) string { return csvTime(d.Since) }},
	{"identity_level", func(d *v1.Device) string { return string(d.Level) }},
	{"vendor", func(d *v1.Device) string { return d.Vendor }},
	{"model", func(d *v1.Device) string { return d.Model }},
	{"firmware", func(d *v1.Device) string { return d.Firmware }},
	{"agent", func(d *v1.Device) string { return d.Agent }},
	{"ek_issuer", func(d *v1.Device) string { return d.EKIssuer }},
	{"certificate_serial", func(d *v1.Device) string { return d.CertificateSerial }},
	{"certificate_expires", func(d *v1.Device) string { return csvTime(d.CertificateExpires) }},
	{"enrolled_at", func(d *v1.Device) string { return csvTime(d.EnrolledAt) }},
	{"last_seen", func(d *v1.Device) string { return csvTime(d.LastSeen) }},
	{"stale_at", func(d *v1.Device) string { return csvTime(d.StaleAt) }},
	{"labels", csvLabels},
}

func csvTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// csvLabels lists labels as NAME=VALUE, one a line.
func csvLabels(d *v1.Device) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(d.Labels)) {
		out = append(out, name+"="+d.Labels[name])
	}
	return strings.Join(out, "\n")
}

func (*csvDevices) kind() string { return "text/csv; charset=utf-8; header=present" }

func (c *csvDevices) write(b *bytes.Buffer, d v1.Device, n int) error {
	if n == 0 {
		c.header(b)
	}
	cells := make([]string, len(csvColumns))
	for i, column := range csvColumns {
		cells[i] = defuse(column.of(&d))
	}
	return csvLine(b, cells)
}

func (c *csvDevices) end(b *bytes.Buffer, n int) {
	if n == 0 {
		c.header(b)
	}
}

func (*csvDevices) header(b *bytes.Buffer) {
	names := make([]string, len(csvColumns))
	for i, column := range csvColumns {
		names[i] = column.name
	}
	_ = csvLine(b, names) // a buffer takes all
}

func csvLine(b *bytes.Buffer, cells []string) error {
	w := csv.NewWriter(b)
	w.UseCRLF = true
	if err := w.Write(cells); err != nil {
		return err
	}
	w.Flush()
	return w.Error()
}

// defuse makes a cell that a spreadsheet would take for a formula a text (OWASP, CSV Injection), and shows what does
// not print as escapes.
func defuse(cell string) string {
	var b strings.Builder
	for _, r := range cell {
		if v1.Prints(r) || r == '\n' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u{%X}`, r)
		}
	}
	cell = b.String()
	if strings.ContainsAny(cell[:min(1, len(cell))], "=+-@|%\t\r\n") {
		cell = "'" + cell
	}
	return cell
}
