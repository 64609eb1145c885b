package flags

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Setting is a flag with what it came to.
type Setting struct {
	Flag   Flag
	Values []string
	// Origin is where the value comes from: the flag as typed, a variable's name,
	// FILE:LINE, or "default".
	Origin string
}

// Given tells whether somebody said so, whatever it is.
func (s *Setting) Given() bool { return s.Origin != defaultOrigin }

const defaultOrigin = "default"

// Settings are all flags of a command line with what they came to. The order of
// precedence is: command line, environment, configuration file, default.
type Settings struct {
	// Command is the subcommand, or empty.
	Command string
	All     []Setting
	// File is the configuration file that was read, or empty.
	File string
	// Args are the arguments that are no flags.
	Args []string

	help    bool
	notices []string
}

// ConfigFlag is the flag that names the configuration file. Every program's table
// has it.
func ConfigFlag(group, place string) Flag {
	return Flag{
		Name: "config", Value: "FILE", Group: group,
		Doc: "read settings from this YAML file; without it " + place + " is read where it exists",
	}
}

// Resolve reads the command line (without the program's name), the environment
// and the configuration file. Everything that is wrong is reported at once; what
// could be read is returned all the same.
func (p *Program) Resolve(args, environ []string) (*Settings, error) {
	l, lineErr := p.parse(args)
	r := &resolver{p: p, line: l, env: variables(environ), table: p.table(l.command)}
	s := &Settings{Command: l.command, Args: l.args, help: l.help}
	r.s = s
	r.file()
	for _, f := range r.table {
		s.All = append(s.All, r.setting(f))
	}
	r.notices()
	return s, errors.Join(lineErr, errors.Join(r.errs...))
}

type resolver struct {
	p     *Program
	line  line
	env   map[string]string
	table []Flag
	keys  map[string]fileValue
	s     *Settings
	errs  []error
}

func variables(environ []string) map[string]string {
	m := make(map[string]string)
	for _, e := range environ {
		if k, v, _ := strings.Cut(e, "="); v != "" { // one that a pipeline leaves empty is as good as none
			m[k] = v
		}
	}
	return m
}

// file reads the configuration file that the command line or the environment
// names, or the one in the usual place.
func (r *resolver) file() {
	if r.line.help {
		return
	}
	config := find(r.table, "config")
	if config == nil {
		return
	}
	path := ""
	if s := r.setting(*config); s.Given() {
		path = s.Values[0]
	}
	var err error
	r.keys, err = r.p.readFile(cmp.Or(path, r.p.Config), path == "")
	if r.keys != nil {
		r.s.File = cmp.Or(path, r.p.Config)
	}
	if err != nil {
		r.errs = append(r.errs, err)
	}
}

// setting finds what a flag comes to.
func (r *resolver) setting(f Flag) Setting {
	typed, origin := r.typed(f)
	named, variable := r.named(f)
	switch {
	case origin != "" && variable != "" && f.Adds:
		return Setting{f, append(typed, named...), origin + ", " + variable}
	case origin != "":
		if variable != "" && !f.same(typed, named) {
			r.s.notices = append(r.s.notices, fmt.Sprintf("%s counts, and %s is passed over", origin, variable))
		}
		return Setting{f, typed, origin}
	case variable != "":
		return Setting{f, named, variable}
	}
	if v, ok := r.keys[f.key(r.line.command)]; ok {
		return Setting{f, v.values, v.origin}
	}
	return Setting{f, f.defaults(), defaultOrigin}
}

// typed is what the command line says of a flag.
func (r *resolver) typed(f Flag) (values []string, origin string) {
	for _, g := range r.line.flags {
		if g.flag != f.Name {
			continue
		}
		if !f.many() {
			values = nil
		}
		values, origin = append(values, g.value), g.typed
	}
	return values, origin
}

// named is what the environment says of a flag. Several values of one variable
// stand on lines of their own.
func (r *resolver) named(f Flag) (values []string, origin string) {
	for _, name := range f.variables(r.line.command) {
		v, ok := r.env[name]
		if !ok {
			continue
		}
		if origin != "" {
			r.s.notices = append(r.s.notices, fmt.Sprintf("%s counts, and %s is passed over", origin, name))
			break
		}
		values, origin = []string{v}, name
		if f.many() {
			values = slices.DeleteFunc(strings.Split(v, "\n"), func(s string) bool { return s == "" })
		}
		for _, v := range values {
			if err := f.check(v); err != nil {
				r.errs = append(r.errs, fmt.Errorf("%s=%s: %w", name, f.display(v), err))
				return nil, ""
			}
		}
	}
	return values, origin
}

// notices tells of what is taken and does nothing, and of variables that nobody
// knows.
func (r *resolver) notices() {
	for _, s := range r.s.All {
		f := s.Flag
		if s.Given() && (f.State == Noted || f.Warns && !f.same(s.Values, f.defaults())) {
			what := s.Origin
			if f.Kind == String && strings.HasPrefix(what, "-") {
				what += " " + f.display(s.Values[0])
			}
			r.s.notices = append(r.s.notices, what+": "+f.Note)
		}
	}
	known := map[string]bool{"STRAKE_CONFIG": true}
	for _, c := range append([]Command{{Flags: r.p.Flags}}, r.p.Commands...) {
		for _, f := range c.Flags {
			for _, v := range f.variables(c.Name) {
				known[v] = true
			}
		}
	}
	for _, v := range r.p.Variables {
		known[v.Name] = true
		if _, ok := r.env[v.Name]; ok && v.State == Noted {
			r.s.notices = append(r.s.notices, v.Name+": "+v.Doc)
		}
	}
	var unknown []string
	for name := range r.env {
		if known[name] || service(name) {
			continue
		}
		begins := func(family string) bool { return strings.HasPrefix(name, family) }
		meant := nearest(name, slices.Collect(maps.Keys(known)))
		switch {
		case slices.ContainsFunc(r.p.Families, begins):
			unknown = append(unknown, name+": there is no such variable")
		case meant != "" && slices.ContainsFunc(r.p.Shared, begins):
			unknown = append(unknown, name+": there is no such variable (did you mean "+meant+"?)")
		}
	}
	slices.Sort(unknown)
	r.s.notices = append(r.s.notices, unknown...)
}

// service tells whether a variable is one that Kubernetes makes for a service of
// the program's name.
func service(name string) bool {
	return strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") || strings.Contains(name, "_PORT_") ||
		strings.HasSuffix(name, "_PORT")
}

// Notices say what was taken and does nothing, or counts less than something
// else.
func (s *Settings) Notices() []string { return slices.Clone(s.notices) }

// Get is the value of a flag that has one; empty where the table has no such flag.
func (s *Settings) Get(name string) string {
	for _, x := range s.All {
		if x.Flag.Name == name && len(x.Values) > 0 {
			return x.Values[len(x.Values)-1]
		}
	}
	return ""
}

// Help tells whether help was asked for.
func (s *Settings) Help() bool { return s.help }

// CommandLine is what it all comes to as a command line for the flags of CLI,
// without the program's name.
func (s *Settings) CommandLine() []string {
	var out []string
	if s.Command != "" {
		out = append(out, s.Command)
	}
	for _, x := range s.All {
		if !x.Given() {
			continue
		}
		for _, v := range x.Values {
			out = append(out, "--"+x.Flag.Name+"="+v)
		}
	}
	return append(append(out, "--"), s.Args...)
}
