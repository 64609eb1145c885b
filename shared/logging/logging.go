// Package logging makes the program's logger from the words of its flags.
package logging

import (
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
)

// Format is how log lines look.
type Format string

// The formats, by kaniko's names.
const (
	Text  Format = "text"
	Color Format = "color"
	JSON  Format = "json"
)

// Options are what --verbosity, --log-format and --log-timestamp say.
type Options struct {
	Level     string // trace, debug, info, warn, error, fatal, panic; "" is info
	Format    Format // "" is color
	Timestamp bool
}

// New makes a logger that writes to w.
func New(w io.Writer, o Options) (zerolog.Logger, error) {
	level := zerolog.InfoLevel
	if o.Level != "" {
		var err error
		if level, err = zerolog.ParseLevel(o.Level); err != nil {
			return zerolog.Nop(), fmt.Errorf("--verbosity %q: not one of trace, debug, info, warn, error, fatal, panic", o.Level)
		}
	}
	switch o.Format {
	case JSON:
		l := zerolog.New(w).Level(level)
		return l.With().Timestamp().Logger(), nil
	case Text, Color, "":
	default:
		return zerolog.Nop(), fmt.Errorf("--log-format %q: not one of text, color, json", o.Format)
	}
	cw := zerolog.ConsoleWriter{Out: w, NoColor: o.Format == Text, TimeFormat: time.RFC3339}
	if !o.Timestamp {
		cw.PartsExclude = []string{zerolog.TimestampFieldName}
		return zerolog.New(cw).Level(level), nil
	}
	return zerolog.New(cw).Level(level).With().Timestamp().Logger(), nil
}
