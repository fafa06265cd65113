package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manSource stands at the foot of the pages.
const manSource = "Probity"

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages of all commands into a directory", Args: need("DIR"),
		Long: `Write the manual pages of all commands, in section 1, into a directory, which is made if it is not there. The date in them
is that of SOURCE_DATE_EPOCH (seconds since 1970), if it is set, so that packages can be built again to the same bytes.`,
		Example: `  probity man /usr/local/share/man/man1
  man probity-device-show`,
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := sourceDate()
			if err != nil {
				return usagef(cmd, "%v", err)
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the directory: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // it would hold the date of today
			header := &doc.GenManHeader{Section: "1", Source: manSource, Manual: "Probity", Date: &date}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			pages, err := filepath.Glob(filepath.Join(args[0], "probity*.1"))
			if err != nil {
				return err
			}
			a.say("wrote %s to %s", count(len(pages), "page"), args[0])
			return nil
		},
	}
}

// sourceDate returns the date of the pages (https://reproducible-builds.org/specs/source-date-epoch/).
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
