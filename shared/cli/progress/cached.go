package progress

import (
	"fmt"
	"io"

	"github.com/docker/go-units"
	"github.com/rs/zerolog"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/stepcache"
)

// Cached says that a step need not be carried out, in the words of `docker build`.
func (p *Progress) Cached(v *graph.Vertex) {
	p.mu.Lock()
	p.next++
	n := p.next
	p.mu.Unlock()
	if p.json != nil {
		p.json.Info().Int("step", n).Str("name", v.Name).Bool("cached", true).Msg("cached")
		return
	}
	p.printf(zerolog.InfoLevel, "#%d %s\n#%d CACHED\n", n, v.Name, n)
}

// CacheSummary says in a line what a cache was good for.
func CacheSummary(steps []stepcache.Outcome) string {
	var hits int
	var seconds float64
	var bytes int64
	for _, o := range steps {
		if o.Hit || o.Unneeded { // what uses it was found
			hits++
			seconds += o.Seconds
			bytes += o.Bytes
		}
	}
	return fmt.Sprintf("cache: %d of %d steps found; saved %.1fs of work, %s of layers", hits, len(steps), seconds, units.HumanSize(float64(bytes)))
}

// ExplainCache writes what became of each step in the cache, and why.
func ExplainCache(w io.Writer, log zerolog.Logger, asJSON bool, steps []stepcache.Outcome) {
	for _, o := range steps {
		if asJSON {
			log.Info().Str("name", o.Step).Interface("cache", o).Msg("cache: " + verdict(o))
			continue
		}
		fmt.Fprintf(w, "cache: %-6s %s\n", verdict(o), o.Step)
		for _, line := range because(o) {
			fmt.Fprintf(w, "              %s\n", line)
		}
	}
}

func verdict(o stepcache.Outcome) string {
	switch {
	case o.Hit:
		return "hit"
	case o.Unneeded:
		return "unused"
	}
	return "miss"
}

// because gives the reasons, the saving, and what changed.
func because(o stepcache.Outcome) (lines []string) {
	switch {
	case o.Hit && o.By == "content":
		lines = append(lines, "made from the same content as before")
	case o.Unneeded && !o.Hit:
		lines = append(lines, "not needed: what uses it was found")
	}
	if o.Hit {
		lines = append(lines, fmt.Sprintf("saved %.1fs, a layer of %s", o.Seconds, units.HumanSize(float64(o.Bytes))))
		return lines
	}
	if o.Reason != "" {
		lines = append(lines, o.Reason)
	}
	if o.New {
		lines = append(lines, "the build before had no such step")
	}
	for _, name := range o.Changed {
		lines = append(lines, "changed: "+name)
	}
	if len(lines) == 0 {
		lines = append(lines, "nothing is kept for it")
	}
	return lines
}
