// Package flags is a program's settings as one table: how each is typed, which variables and file keys set it, and what help, completion and manual say of it.
package flags

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Kind is how the value of a flag is written.
type Kind int

// The kinds of flags.
const (
	String   Kind = iota
	Bool          // --flag, --flag=true, --flag=0; never "--flag true", as in pflag
	Int           // decimal
	Duration      // as time.ParseDuration has it
	List          // repeatable; a comma belongs to the value
	Pairs         // repeatable KEY=VALUE; a mapping in the configuration file
)

// State says how a flag stands to kaniko's of the same name.
type State string

// The states of a flag.
const (
	New    State = ""       // kaniko has none
	Kept   State = "kept"   // as in kaniko
	Fixed  State = "fixed"  // does what it promises, which kaniko's does not
	Noted  State = "notice" // taken, and a line says what is done instead
	Former State = "alias"  // another name of a flag
)

// Flag is one setting. The zero value of every field but Name, Group and Doc is
// the usual choice.
type Flag struct {
	// Name is the long name, without dashes. Short is a letter, or empty.
	Name, Short string
	// Aliases are other long names.
	Aliases []string
	Kind    Kind
	// Default is what counts when nothing is said, as it would be typed.
	Default string
	// Value stands for the value in the help, such as FILE.
	Value string
	// Words are all that the value may be, where it is one of few.
	Words []string
	// Bare lets Pairs be a KEY alone.
	Bare bool
	// Env are variables besides STRAKE_NAME that set the flag.
	Env []string
	// Adds has the values of a variable added behind those of the command line,
	// instead of passed over.
	Adds bool
	// Group is the heading under which the help shows the flag.
	Group string
	State State
	// Doc is a line of help, Note what is else than in kaniko. Where State is
	// Noted, Note is said whenever the flag is given, and is the help; otherwise,
	// where Warns is set, it is said whenever the value is not the default.
	Doc, Note string
	Warns     bool
	// Secret has the value hidden wherever settings are shown.
	Secret bool
	// Local belongs to one subcommand: its variable and file key begin with the
	// subcommand's name.
	Local bool
	// Hidden leaves the flag out of help and completion.
	Hidden bool
}

// names are all long names of a flag.
func (f *Flag) names() []string { return append([]string{f.Name}, f.Aliases...) }

// many tells whether the flag may be given more than once.
func (f *Flag) many() bool { return f.Kind == List || f.Kind == Pairs }

// key is the flag's name in the configuration file.
func (f *Flag) key(command string) string {
	if f.Local && command != "" {
		return strings.ReplaceAll(command, " ", "-") + "-" + f.Name
	}
	return f.Name
}

// variables are the environment variables that set the flag, the first that is
// set counts.
func (f *Flag) variables(command string) []string {
	own := "STRAKE_" + strings.ToUpper(strings.ReplaceAll(f.key(command), "-", "_"))
	others := slices.DeleteFunc(slices.Clone(f.Env), func(v string) bool { return v == own })
	return append([]string{own}, others...)
}

// check tells what is wrong with a value.
func (f *Flag) check(v string) error {
	switch f.Kind {
	case Bool:
		if _, err := strconv.ParseBool(v); err != nil {
			return fmt.Errorf("want true or false")
		}
	case Int:
		if _, err := strconv.Atoi(v); err != nil {
			return fmt.Errorf("not a number")
		}
	case Duration:
		if _, err := time.ParseDuration(v); err != nil {
			return fmt.Errorf("not a duration such as 336h or 90m")
		}
	case Pairs:
		k, _, ok := strings.Cut(v, "=")
		switch {
		case f.Bare && k == "":
			return fmt.Errorf("want NAME=VALUE or NAME")
		case !f.Bare && (!ok || k == ""):
			return fmt.Errorf("want KEY=VALUE")
		}
	}
	if len(f.Words) > 0 && !slices.Contains(f.Words, v) {
		return fmt.Errorf("not one of %s", strings.Join(f.Words, ", "))
	}
	return nil
}

// same tells whether two values mean the same.
func (f *Flag) same(a, b []string) bool {
	if f.Kind == Bool && len(a) == 1 && len(b) == 1 {
		x, _ := strconv.ParseBool(a[0])
		y, _ := strconv.ParseBool(b[0])
		return x == y
	}
	return slices.Equal(a, b)
}

// defaults are the values that count when nothing is said.
func (f *Flag) defaults() []string {
	switch {
	case f.Default != "":
		return []string{f.Default}
	case f.Kind == Bool:
		return []string{"false"}
	case f.Kind == Int:
		return []string{"0"}
	}
	return nil
}

// value is the word for the value in the help.
func (f *Flag) value() string {
	switch {
	case f.Kind == Bool:
		return ""
	case f.Value != "":
		return f.Value
	case len(f.Words) > 0:
		return strings.Join(f.Words, "|")
	case f.Kind == Int:
		return "N"
	case f.Kind == Duration:
		return "DURATION"
	case f.Kind == Pairs:
		return "KEY=VALUE"
	}
	return "VALUE"
}

// CLI are the flags as urfave/cli reads them. What it is given has been resolved
// before: it sees one name of each flag, and neither environment nor file.
func CLI(table []Flag) []cli.Flag {
	var out []cli.Flag
	for _, f := range table {
		switch f.Kind {
		case Bool:
			out = append(out, &cli.BoolFlag{Name: f.Name, Value: f.Default == "true"})
		case Int:
			n, _ := strconv.Atoi(f.Default)
			out = append(out, &cli.IntFlag{Name: f.Name, Value: n})
		case Duration:
			d, _ := time.ParseDuration(f.Default)
			out = append(out, &cli.DurationFlag{Name: f.Name, Value: d})
		case List, Pairs:
			out = append(out, &cli.StringSliceFlag{Name: f.Name})
		default:
			out = append(out, &cli.StringFlag{Name: f.Name, Value: f.Default})
		}
	}
	return out
}

// FromCLI makes entries of flags that are written as package cli has them, all of
// one state. Usage, Category, Aliases, EnvVars and Hidden are kept; an alias of
// one letter is the short name, and a usage may begin with "`VALUE`: ", the word
// for the flag's value.
func FromCLI(state State, list []cli.Flag) (out []Flag) {
	for _, x := range list {
		f := Flag{State: state}
		switch x := x.(type) {
		case *cli.BoolFlag:
			f.Kind, f.Name, f.Group, f.Doc, f.Env, f.Hidden = Bool, x.Name, x.Category, x.Usage, x.EnvVars, x.Hidden
			f.alias(x.Aliases)
			if x.Value {
				f.Default = "true"
			}
		case *cli.IntFlag:
			f.Kind, f.Name, f.Group, f.Doc, f.Env, f.Hidden = Int, x.Name, x.Category, x.Usage, x.EnvVars, x.Hidden
			f.alias(x.Aliases)
			f.Default = strconv.Itoa(x.Value)
		case *cli.DurationFlag:
			f.Kind, f.Name, f.Group, f.Doc, f.Env, f.Hidden = Duration, x.Name, x.Category, x.Usage, x.EnvVars, x.Hidden
			f.alias(x.Aliases)
			f.Default = x.Value.String()
		case *cli.StringSliceFlag:
			f.Kind, f.Name, f.Group, f.Doc, f.Env, f.Hidden = List, x.Name, x.Category, x.Usage, x.EnvVars, x.Hidden
			f.alias(x.Aliases)
		case *cli.StringFlag:
			f.Name, f.Group, f.Doc, f.Env, f.Hidden, f.Default = x.Name, x.Category, x.Usage, x.EnvVars, x.Hidden, x.Value
			f.alias(x.Aliases)
		}
		f.Doc = strings.TrimSuffix(f.Doc, " (repeatable)")
		if rest, ok := strings.CutPrefix(f.Doc, "`"); ok {
			if value, doc, ok := strings.Cut(rest, "`: "); ok {
				f.Value, f.Doc = value, doc
			}
		}
		out = append(out, f)
	}
	return out
}

func (f *Flag) alias(names []string) {
	for _, n := range names {
		if len(n) == 1 {
			f.Short = n
			continue
		}
		f.Aliases = append(f.Aliases, n)
	}
}
