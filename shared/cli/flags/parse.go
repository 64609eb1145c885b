package flags

import (
	"errors"
	"fmt"
	"strings"
)

// given is a flag on the command line.
type given struct {
	flag  string // its first name
	typed string // as it stood there, with its dashes
	value string
}

// line is a command line, read.
type line struct {
	command string
	flags   []given
	args    []string
	help    bool
}

// lineParser reads a command line by the rules of pflag, which kaniko uses: flags
// may stand behind arguments, -fX and -f=X are -f X, letters of booleans may be
// joined, and the last of several values counts.
type lineParser struct {
	p     *Program
	line  line
	table []Flag
	group string // the first words of a command of several
	rest  []string
	errs  []error
}

// parse reads a command line. It reports everything that is wrong, and returns
// what could be read.
func (p *Program) parse(args []string) (line, error) {
	l := &lineParser{p: p, table: p.Flags, rest: args}
	for len(l.rest) > 0 {
		arg := l.next()
		switch {
		case arg == "--":
			l.line.args = append(l.line.args, l.rest...)
			l.rest = nil
		case strings.HasPrefix(arg, "--"):
			l.long(arg)
		case len(arg) > 1 && arg[0] == '-':
			l.letters(arg)
		default:
			l.argument(arg)
		}
	}
	if l.group != "" && !l.line.help {
		l.fail("%s %s: want one of %s", l.p.Name, l.group, strings.Join(l.p.below(l.group), ", "))
	}
	return l.line, errors.Join(l.errs...)
}

// find finds a flag by a long name. Between the words of a command of several
// those of all that it may become are known.
func (l *lineParser) find(name string) *Flag {
	return l.search(func(table []Flag) *Flag { return find(table, name) })
}

func (l *lineParser) findShort(letter string) *Flag {
	return l.search(func(table []Flag) *Flag { return findShort(table, letter) })
}

func (l *lineParser) search(in func([]Flag) *Flag) *Flag {
	f := in(l.table)
	for i := range l.p.Commands {
		if f == nil && l.group != "" && strings.HasPrefix(l.p.Commands[i].Name, l.group+" ") {
			f = in(l.p.Commands[i].Flags)
		}
	}
	return f
}

func (l *lineParser) next() string {
	s := l.rest[0]
	l.rest = l.rest[1:]
	return s
}

func (l *lineParser) fail(format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

func (l *lineParser) argument(arg string) {
	if l.line.command != "" || len(l.line.args) > 0 {
		l.line.args = append(l.line.args, arg)
		return
	}
	name := strings.TrimSpace(l.group + " " + arg)
	c := l.p.command(name)
	switch {
	case c != nil:
		l.enter(c)
	case len(l.p.below(name)) > 0:
		l.group = name
	case l.group != "":
		l.fail("%s %s: there is no such command; there are %s", l.p.Name, name, strings.Join(l.p.below(l.group), ", "))
		l.line.args, l.group = append(l.line.args, arg), ""
	default:
		l.line.args = append(l.line.args, arg)
	}
}

// enter goes on with the flags of a subcommand.
func (l *lineParser) enter(c *Command) {
	l.line.command, l.table, l.group = c.Name, c.Flags, ""
	for _, g := range l.line.flags {
		if find(c.Flags, g.flag) == nil {
			l.fail("%s: %s %s has no such flag", g.typed, l.p.Name, c.Name)
		}
	}
}

func (l *lineParser) long(arg string) {
	typed, value, ok := strings.Cut(arg, "=")
	name := typed[2:]
	f := l.find(name)
	switch {
	case f == nil && name == "help":
		l.line.help = true
	case f == nil:
		l.unknown(typed)
	case ok:
		l.add(f, typed, value)
	case f.Kind == Bool:
		l.add(f, typed, "true")
	case len(l.rest) == 0:
		l.fail("%s: wants a value", typed)
	default:
		l.add(f, typed, l.next())
	}
}

// letters reads -a, -abc, -aVALUE and -a=VALUE.
func (l *lineParser) letters(arg string) {
	name, _, _ := strings.Cut(arg[1:], "=")
	if len(name) > 1 && l.find(name) != nil {
		if l.p.OneDash {
			l.long("-" + arg)
			return
		}
		l.fail("-%s: a long name wants two dashes, --%s", name, name)
		return
	}
	for s := arg[1:]; s != ""; {
		letter, rest := s[:1], s[1:]
		typed := "-" + letter
		f := l.findShort(letter)
		switch {
		case f == nil && letter == "h":
			l.line.help = true
			s = rest
			continue
		case f == nil:
			l.unknown(typed)
		case strings.HasPrefix(rest, "="):
			l.add(f, typed, rest[1:])
		case f.Kind == Bool:
			l.add(f, typed, "true")
			s = rest
			continue
		case rest != "":
			l.add(f, typed, rest)
		case len(l.rest) == 0:
			l.fail("%s: wants a value", typed)
		default:
			l.add(f, typed, l.next())
		}
		return
	}
}

func (l *lineParser) add(f *Flag, typed, value string) {
	if err := f.check(value); err != nil {
		l.fail("%s %s: %w", typed, f.display(value), err)
		return
	}
	l.line.flags = append(l.line.flags, given{f.Name, typed, value})
}

func (l *lineParser) unknown(typed string) {
	l.fail("%s: there is no such flag%s", typed, l.near(strings.TrimLeft(typed, "-")))
}

// near names the flag that may have been meant.
func (l *lineParser) near(name string) string {
	var names []string
	for _, f := range shown(l.table) {
		names = append(names, f.names()...)
	}
	best := nearest(name, names)
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean --%s?)", best)
}

// nearest is the first of the names that differ least, and by little.
func nearest(name string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		if d := distance(name, n); d < least || d == least && best != "" && n < best {
			best, least = n, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters differ.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
