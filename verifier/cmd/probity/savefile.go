package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// outFlags says where raw bytes go.
type outFlags struct {
	file  string
	force bool
}

func (o *outFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.file, "out", "O", "-", "`FILE` to write, or - for standard output")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace the file if it is there")
}

// download writes what the verifier answers to a file, as a whole or not at all, or to standard output for "-".
func (a *app) download(ctx context.Context, r request, out outFlags) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	file := out.file
	if file == "-" {
		_, err := c.save(ctx, r, a.stdout, 0)
		return err
	}
	if _, err := os.Stat(file); err == nil && !out.force {
		return fmt.Errorf("%s is there: give --force to replace it", file)
	}
	var n int64
	err = writeWhole(file, out.force, func(w io.Writer) (err error) {
		m := a.meter()
		defer m.end()
		n, err = c.save(ctx, r, io.MultiWriter(w, &metered{meter: m}), 0)
		return err
	})
	if err != nil {
		return err
	}
	a.say("wrote %s to %s", size(uint64(n)), file)
	return nil
}

// writeWhole makes a file of what fill writes: as a whole or not at all. Only its owner may read it.
func writeWhole(name string, force bool, fill func(w io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(f.Close()), os.Remove(f.Name()))
		}
	}()
	if err = fill(f); err != nil {
		return err
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return finish(f.Name(), name, force)
}

// finish gives a finished file its name; without force not that of another.
func finish(made, name string, force bool) error {
	if force {
		return os.Rename(made, name)
	}
	if err := os.Link(made, name); err != nil { // fails if somebody made one meanwhile
		return err
	}
	return os.Remove(made)
}

func ignoreClosed(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

// metered shows how much went through it.
type metered struct {
	meter *meter
	n     uint64
}

func (m *metered) Write(b []byte) (int, error) {
	m.n += uint64(len(b))
	m.meter.text("fetching " + size(m.n))
	return len(b), nil
}

func (a *app) deviceExport() *cobra.Command {
	var filter filterFlags
	var out outFlags
	var format string
	cmd := &cobra.Command{
		Use: "export", Short: "Write all devices that filters select as CSV or JSON", Args: need(),
		Long: `Write all devices that filters select, however many they are, as CSV for spreadsheets or as JSON. In CSV, cells that a
spreadsheet would take for formulas begin with an apostrophe.`,
		Example: `  probity device export --state untrusted,warning --group north > bad.csv
  probity device export --format json -O devices.json`,
	}
	filter.register(a, cmd)
	cmd.Flags().StringVar(&format, "format", "csv", "csv or json")
	out.register(cmd)
	_ = cmd.RegisterFlagCompletionFunc("format", fixed("csv", "json"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format != "csv" && format != "json" {
			return usagef(cmd, "--format %q: want csv or json", format)
		}
		f, err := filter.filter()
		if err != nil {
			return usagef(cmd, "%v", err)
		}
		query := filterQuery(&f)
		query.Set("format", format)
		return a.download(cmd.Context(), request{
			method: http.MethodGet, path: "/v1/devices/export", query: query, accept: "*/*",
		}, out)
	}
	return cmd
}
