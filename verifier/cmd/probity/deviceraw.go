package main

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func (a *app) deviceEvidence() *cobra.Command {
	var out outFlags
	cmd := &cobra.Command{
		Use: "evidence DEVICE DIGEST", Short: "Fetch raw evidence as the device sent it (DIGEST: as device show -o json names it)",
		Args: need("DEVICE", "DIGEST"),
	}
	out.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.fetchRaw(cmd, args[0], "evidence/"+url.PathEscape(args[1]), nil, out)
	}
	return cmd
}

func (a *app) deviceBootLog() *cobra.Command {
	return a.rawOfResult("boot-log", "Fetch the boot event log, which \"probity log show\" reads")
}

func (a *app) deviceIMAList() *cobra.Command {
	return a.rawOfResult("ima-list", "Fetch the IMA list, which \"probity ima show\" reads")
}

// rawOfResult makes a command that fetches raw bytes which belong to a result.
func (a *app) rawOfResult(what, short string) *cobra.Command {
	var out outFlags
	cmd := &cobra.Command{Use: what + " DEVICE", Short: short, Args: need("DEVICE")}
	out.register(cmd)
	query := ofResult(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		return a.fetchRaw(cmd, args[0], what, q, out)
	}
	return cmd
}

// fetchRaw fetches raw bytes. A device may put anything into them: they never go to a terminal.
func (a *app) fetchRaw(cmd *cobra.Command, device, what string, query url.Values, out outFlags) error {
	if out.file == "-" && isTerminal(a.stdout) {
		return &exit{exitUsage, errors.New("raw bytes are not shown on a terminal: give --out FILE, or pipe them on")}
	}
	return a.download(cmd.Context(), request{
		method: http.MethodGet, path: devicePath(device, what), query: query, accept: "*/*",
	}, out)
}
