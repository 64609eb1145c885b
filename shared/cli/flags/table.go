package flags

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Table writes every flag and variable with its state as Markdown.
func (p *Program) Table(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n", p.Name)
	t := &markdown{&b, p.compared()}
	for _, g := range groups(p.Flags) {
		fmt.Fprintf(&b, "\n### %s\n", g)
		t.rows("", Only(p.Flags, g))
	}
	told := told(p.Flags)
	for _, c := range p.commands()[1:] {
		own, others := told.split(c.Flags)
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", p.usage(&c), sentence(c.Doc))
		if len(others) > 0 {
			fmt.Fprintf(&b, "Takes the flags of these groups: %s.\n", strings.Join(groups(others), ", "))
		}
		if len(own) > 0 {
			t.rows(c.Name, own)
		}
	}
	if len(p.Variables) > 0 {
		fmt.Fprintf(&b, "\n### Variables of %s that are no flag's\n", p.Name)
		t.head("variable", "state", "what it does")
		for _, v := range p.Variables {
			t.row("`"+v.Name+"`", state(v.State), cell(v.Doc))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// heard are the flags of which a document has told already.
type heard map[string]bool

func told(table []Flag) heard {
	h := heard{}
	h.split(table)
	return h
}

// split tells the flags of a command that are its own, or are met for the first
// time, from those of which was told.
func (h heard) split(table []Flag) (first, again []Flag) {
	for _, f := range shown(table) {
		if !f.Local && h[f.Name] {
			again = append(again, f)
			continue
		}
		first = append(first, f)
		if !f.Local {
			h[f.Name] = true
		}
	}
	return first, again
}

// compared tells whether the program is compared with one of kaniko's.
func (p *Program) compared() bool {
	return slices.ContainsFunc(p.Flags, func(f Flag) bool { return f.State != New })
}

// markdown writes tables, with a column for states or without.
type markdown struct {
	b      *strings.Builder
	states bool
}

// head begins a table.
func (t *markdown) head(cells ...string) {
	t.b.WriteString("\n")
	t.row(cells...)
	t.row(slices.Repeat([]string{"---"}, len(cells))...)
}

// row writes a line, of which the last cell but one is the state.
func (t *markdown) row(cells ...string) {
	if n := len(cells) - 2; !t.states {
		cells = slices.Delete(cells, n, n+1)
	}
	t.b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func (t *markdown) rows(command string, table []Flag) {
	t.head("flag", "default", "variables", "state", "meaning")
	for _, f := range table {
		name := "`--" + f.Name + "`"
		if f.Short != "" {
			name = "`-" + f.Short + "`, " + name
		}
		if v := f.value(); v != "" {
			name += " " + cell(v)
		}
		doc := f.Doc
		if f.Note != "" {
			doc += ". **Differs:** " + f.Note
		}
		if f.State == Noted {
			doc = "taken with a notice: " + f.Note
		}
		if f.Default != "" {
			doc = strings.TrimSuffix(doc, ".")
		}
		t.row(name, code(f.Default), "`"+strings.Join(f.variables(command), "` `")+"`", state(f.State), cell(doc))
		for _, a := range f.Aliases {
			t.row("`--"+a+"`", "", "", "alias", "`--"+f.Name+"`")
		}
	}
}

func state(s State) string {
	if s == New {
		return "new"
	}
	return string(s)
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
