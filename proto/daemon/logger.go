package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Logger returns a structured logger that writes to w: format is "text" (for people) or "json" (for collectors), level
// is "debug", "info", "warn" or "error". Both escape control characters, so that nothing a peer sends forges a line.
func Logger(w io.Writer, format, level string) (*slog.Logger, error) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	l, ok := levels[strings.ToLower(level)]
	if !ok {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", clip(level))
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log format %q: want text or json", clip(format))
}
