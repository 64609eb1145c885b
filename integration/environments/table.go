package environments

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// Times are the processor time that builds took, by environment and Dockerfile, with the official image; "" is the reference.
type Times map[string]map[string]time.Duration

// Add notes one.
func (t Times) Add(env, dockerfile string, took time.Duration) {
	if t[env] == nil {
		t[env] = map[string]time.Duration{}
	}
	t[env][dockerfile] = took
}

// begin and end are the lines between which a document has the table.
const (
	begin = "<!-- written by make environments -->"
	end   = "<!-- end -->"
)

// dockerfiles are the columns of times.
func dockerfiles() []string { return []string{"quick", "apt", "npm", "golang"} }

// Row is an environment's line in the table, without times.
func Row(e Environment) string {
	return fmt.Sprintf("| %s | %s | %s | %s |", e.Name, e.What, e.Official, e.Foreign)
}

// String is an expectation in a word or two.
func (e Expectation) String() string {
	switch {
	case e.Not:
		return "–"
	case e.Refused():
		return "no `RUN`"
	}
	return e.View + ", " + e.Identity
}

// figures are those of an earlier table, by environment and Dockerfile: one run need not measure everything.
func figures(table string) map[string]map[string]string {
	old := map[string]map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 6+len(dockerfiles()) {
			continue
		}
		row := map[string]string{}
		for i, d := range dockerfiles() {
			row[d] = strings.TrimSpace(cells[5+i])
		}
		old[strings.TrimSpace(cells[1])] = row
	}
	return old
}

// Table is the whole of it. Figures are those of the official image, or of another where that does not run, relative to
// a privileged container's; what was not measured keeps the figure of the table before.
func Table(times Times, before string) string {
	old := figures(before)
	var b strings.Builder
	b.WriteString("| name | container | official image | other image |")
	for _, d := range dockerfiles() {
		fmt.Fprintf(&b, " %s |", d)
	}
	b.WriteString("\n| --- | --- | --- | --- |" + strings.Repeat(" --- |", len(dockerfiles())) + "\n")
	for _, e := range All() {
		b.WriteString(Row(e))
		for _, d := range dockerfiles() {
			figure := ratio(times[e.Name][d], times[""][d])
			if kept := old[e.Name][d]; figure == "–" && kept != "" {
				figure = kept
			}
			fmt.Fprintf(&b, " %s |", figure)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func ratio(took, reference time.Duration) string {
	if took == 0 || reference == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", took.Seconds()/reference.Seconds())
}

// WriteTable puts the table into a document.
func WriteTable(document string, times Times) error {
	content, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(content, []byte(begin+"\n"))
	table, after, closed := bytes.Cut(rest, []byte(end))
	if !ok || !closed {
		return fmt.Errorf("%s has no place for the table, between %q and %q", document, begin, end)
	}
	out := bytes.Join([][]byte{before, []byte(begin + "\n\n" + Table(times, string(table)) + "\n" + end), after}, nil)
	return os.WriteFile(document, out, 0o644)
}
