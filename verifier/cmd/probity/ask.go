package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// asks makes what a command runs of what it does with the verifier's client.
func (a *app) asks(do func(cmd *cobra.Command, c *client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		return do(cmd, c, args)
	}
}

// fetch asks for a document.
func fetch[T any](ctx context.Context, c *client, path string, query url.Values) (out T, err error) {
	err = c.call(ctx, http.MethodGet, path, query, nil, &out)
	return out, err
}

// show asks for a document and prints it; table writes it for people.
func show[T any](a *app, cmd *cobra.Command, path string, query url.Values, table func(w io.Writer, v *T) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	v, err := fetch[T](cmd.Context(), c, path, query)
	if err != nil {
		return err
	}
	return a.print(v, func(w io.Writer) error { return table(w, &v) })
}

// missing adds to the error for something that is not there which command lists what is.
func missing(err error, what, name, list string) error {
	if isMissing(err) {
		return fmt.Errorf("%s %q: %w; see \"probity %s\"", what, name, err, list)
	}
	return err
}

// remove asks, deletes something at the verifier and says so. what is what messages call it.
func (a *app) remove(ctx context.Context, yes bool, path, what string) error {
	if err := a.consent(yes, "remove %s?", what); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := c.call(ctx, http.MethodDelete, path, nil, nil, nil); err != nil {
		return err
	}
	a.say("removed %s", what)
	return nil
}

// limitFlag adds the flag --limit and refuses what is less than 1.
func limitFlag(cmd *cobra.Command, limit *int, usual int, usage string) {
	cmd.Flags().IntVar(limit, "limit", usual, usage)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if *limit < 1 {
			return usagef(cmd, "--limit %d: want at least 1", *limit)
		}
		return nil
	}
}

// wholeSeconds returns the seconds of a flag's duration, which is not negative and has no fraction of one.
func wholeSeconds(cmd *cobra.Command, flag string, d time.Duration) (int64, error) {
	if d < 0 || d%time.Second != 0 {
		return 0, usagef(cmd, "--%s %s: want whole seconds, 0 or more", flag, d)
	}
	return int64(d / time.Second), nil
}

// enableFlag adds the flag --enable and refuses it beside --disable.
func enableFlag(cmd *cobra.Command, enable, disable *bool, usage string) {
	cmd.Flags().BoolVar(enable, "enable", false, usage)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if *enable && *disable {
			return usagef(cmd, "give --disable or --enable, not both")
		}
		return nil
	}
}

// maxPage is how many entries of long lists one request asks for.
const maxPage = 100

// pages asks for pages until there is nothing more or limit entries came. ask returns how many came and whether there are
// more.
func pages(limit int, ask func(want int) (int, bool, error)) error {
	for left := limit; left > 0; {
		n, more, err := ask(min(left, maxPage))
		if err != nil || !more || n == 0 {
			return err
		}
		left -= n
	}
	return nil
}

// collect asks for the pages of a list up to limit entries. take keeps a page and sets in query where the next one begins;
// it returns how many entries came and whether there are more.
func collect[T any](ctx context.Context, c *client, path string, query url.Values, limit int, take func(page *T) (int, bool)) error {
	return pages(limit, func(want int) (int, bool, error) {
		query.Set("limit", strconv.Itoa(want))
		page, err := fetch[T](ctx, c, path, query)
		if err != nil {
			return 0, false, err
		}
		n, more := take(&page)
		return n, more, nil
	})
}
