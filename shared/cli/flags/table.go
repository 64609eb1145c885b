package flags

import (
	"fmt"
	"io"
	"strings"
)

// Table writes every flag and variable with its state as Markdown.
func (p *Program) Table(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n", p.Name)
	markdown(&b, "", p.Flags)
	for _, c := range p.commands()[1:] {
		own := own(c.Flags)
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", p.usage(&c), sentence(c.Doc))
		if others := shared(c.Flags); len(others) > 0 {
			fmt.Fprintf(&b, "Takes the flags of these groups: %s.\n", strings.Join(others, ", "))
		}
		if len(own) > 0 {
			b.WriteString(markdownHead)
			rows(&b, c.Name, own)
		}
	}
	if len(p.Variables) > 0 {
		fmt.Fprintf(&b, "\n### Variables of %s that are no flag's\n\n| variable | state | what it does |\n| --- | --- | --- |\n", p.Name)
		for _, v := range p.Variables {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, state(v.State), cell(v.Doc))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const markdownHead = "\n| flag | default | variables | state | meaning |\n| --- | --- | --- | --- | --- |\n"

func markdown(b *strings.Builder, command string, table []Flag) {
	for _, g := range groups(table) {
		fmt.Fprintf(b, "\n### %s\n%s", g, markdownHead)
		rows(b, command, Only(table, g))
	}
}

func rows(b *strings.Builder, command string, table []Flag) {
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
		fmt.Fprintf(b, "| %s | %s | `%s` | %s | %s |\n", name, code(f.Default), strings.Join(f.variables(command), "` `"), state(f.State), cell(doc))
		for _, a := range f.Aliases {
			fmt.Fprintf(b, "| `--%s` | | | alias | `--%s` |\n", a, f.Name)
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
