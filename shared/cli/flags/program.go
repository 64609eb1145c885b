package flags

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Command is a subcommand.
type Command struct {
	// Name may be of two words, as in "cache ls".
	Name string
	// Args stand for its arguments in the help.
	Args string
	// Doc is a line of help; Long is more of it.
	Doc, Long string
	Flags     []Flag
	Hidden    bool
}

// Variable is an environment variable that is no flag's.
type Variable struct {
	Name  string
	State State
	// Doc says what it does. Where State is Noted it is said when the variable is set.
	Doc string
}

// Program is all that can be typed and set.
type Program struct {
	Name string
	// Doc is a line of help; Long is more of it.
	Doc, Long string
	// Flags are those of the program without a subcommand.
	Flags     []Flag
	Commands  []Command
	Variables []Variable
	// Families are beginnings of variables' names. Every one that is set must be
	// in Variables, or is reported.
	Families []string
	// Shared are such beginnings that other programs have, too: of these only what
	// is nearly a name of this program is reported.
	Shared []string
	// OneDash takes long names behind one dash, too, as Go's package flag does.
	// Joined short names are not taken then where they are a long one.
	OneDash bool
	// Config is where the configuration file is looked for when nobody names one.
	Config string
}

// Check tells what is wrong with the table itself, for a test.
func (p *Program) Check() error {
	var errs []error
	for _, c := range append([]Command{{Flags: p.Flags}}, p.Commands...) {
		seen := map[string]bool{}
		for _, f := range c.Flags {
			for _, n := range append(f.names(), f.Short) {
				if n != "" && seen[n] {
					errs = append(errs, fmt.Errorf("%s %s: the name %s is taken", p.Name, c.Name, n))
				}
				seen[n] = true
			}
			if f.Name == "" || f.Group == "" || f.Doc == "" && f.State != Noted {
				errs = append(errs, fmt.Errorf("%s %s: --%s wants a name, a group and a line of help", p.Name, c.Name, f.Name))
			}
			if f.State == Noted && f.Note == "" {
				errs = append(errs, fmt.Errorf("%s %s: --%s has a notice without words", p.Name, c.Name, f.Name))
			}
			for _, v := range f.defaults() {
				if err := f.check(v); err != nil && !(len(f.Words) > 0 && f.Default == "") {
					errs = append(errs, fmt.Errorf("%s %s: --%s has the default %s: %w", p.Name, c.Name, f.Name, v, err))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// command finds a subcommand.
func (p *Program) command(name string) *Command {
	i := slices.IndexFunc(p.Commands, func(c Command) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &p.Commands[i]
}

// Has tells whether a word begins a subcommand.
func (p *Program) Has(word string) bool { return slices.Contains(p.words(), word) }

// below are the next words of the commands that begin with a word.
func (p *Program) below(group string) (out []string) {
	for _, c := range p.Commands {
		if rest, ok := strings.CutPrefix(c.Name, group+" "); ok {
			out = append(out, rest)
		}
	}
	return out
}

// words are the first words of all commands, each once.
func (p *Program) words() (out []string) {
	for _, c := range p.commands()[1:] {
		word, _, _ := strings.Cut(c.Name, " ")
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// table are the flags of a subcommand, or of the program itself.
func (p *Program) table(command string) []Flag {
	if c := p.command(command); c != nil {
		return c.Flags
	}
	return p.Flags
}

func find(table []Flag, name string) *Flag {
	i := slices.IndexFunc(table, func(f Flag) bool { return slices.Contains(f.names(), name) })
	if i < 0 {
		return nil
	}
	return &table[i]
}

func findShort(table []Flag, letter string) *Flag {
	i := slices.IndexFunc(table, func(f Flag) bool { return f.Short == letter })
	if i < 0 {
		return nil
	}
	return &table[i]
}

// WithFlags is a copy of a table where some flags are others.
func WithFlags(table []Flag, others ...Flag) []Flag {
	out := slices.Clone(table)
	for _, o := range others {
		if i := slices.IndexFunc(out, func(f Flag) bool { return f.Name == o.Name }); i >= 0 {
			out[i] = o
			continue
		}
		out = append(out, o)
	}
	return out
}

// Only are those flags of a table that are in one of the groups.
func Only(table []Flag, groups ...string) []Flag {
	return slices.DeleteFunc(slices.Clone(table), func(f Flag) bool { return !slices.Contains(groups, f.Group) })
}

// groups are the groups of a table, in order.
func groups(table []Flag) (out []string) {
	for _, f := range table {
		if !slices.Contains(out, f.Group) {
			out = append(out, f.Group)
		}
	}
	return out
}

// shown are the flags that help tells of.
func shown(table []Flag) []Flag {
	return slices.DeleteFunc(slices.Clone(table), func(f Flag) bool { return f.Hidden })
}

// dashed is a flag as it is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// sentence is a line of help as a sentence.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
