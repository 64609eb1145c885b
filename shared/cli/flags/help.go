package flags

import (
	"fmt"
	"strings"
)

// width is how wide help is.
const width = 100

// column is where the explanations begin.
const column = 34

// Help is the help of the program, or of a subcommand.
func (p *Program) Help(command string) string {
	var b strings.Builder
	c := p.command(command)
	table := shown(p.table(command))
	if c != nil {
		fmt.Fprintf(&b, "%s %s: %s\n\nUsage:\n  %s\n", p.Name, c.Name, c.Doc, p.usage(c))
		paragraph(&b, c.Long)
	} else {
		fmt.Fprintf(&b, "%s: %s\n\nUsage:\n  %s [FLAG…]\n  %s COMMAND [FLAG…]\n\nCommands:\n", p.Name, p.Doc, p.Name, p.Name)
		for _, c := range p.Commands {
			if !c.Hidden {
				entry(&b, "  "+c.Name, c.Doc)
			}
		}
	}
	for _, g := range groups(table) {
		fmt.Fprintf(&b, "\n%s:\n", g)
		for _, f := range table {
			if f.Group == g {
				entry(&b, f.heading(), f.explain(command))
			}
		}
	}
	if c == nil {
		paragraph(&b, p.Long)
	}
	return b.String()
}

func (p *Program) usage(c *Command) string {
	s := p.Name + " " + c.Name
	if len(c.Flags) > 0 {
		s += " [FLAG…]"
	}
	if c.Args != "" {
		s += " " + c.Args
	}
	return s
}

// heading is how a flag is typed.
func (f *Flag) heading() string {
	s := "      --" + f.Name
	if f.Short != "" {
		s = "  -" + f.Short + ", --" + f.Name
	}
	if v := f.value(); v != "" && len(f.Words) == 0 {
		s += " " + v
	}
	return s
}

// explain is what the help says of a flag.
func (f *Flag) explain(command string) string {
	s := f.Doc
	if f.State == Noted {
		return f.Note
	}
	if len(f.Words) > 0 && !strings.Contains(s, f.Words[0]) {
		s += ": " + strings.Join(f.Words, ", ")
	}
	var more []string
	if f.many() {
		more = append(more, "repeatable")
	}
	if f.Default != "" && f.Default != "false" {
		more = append(more, "default "+f.Default)
	}
	for _, a := range f.Aliases {
		more = append(more, "also "+dashed(a))
	}
	for _, v := range f.variables(command)[1:] {
		more = append(more, "$"+v)
	}
	if len(more) > 0 {
		s += " (" + strings.Join(more, ", ") + ")"
	}
	return s
}

// entry writes a name and its explanation beside it.
func entry(b *strings.Builder, name, text string) {
	lines := wrap(text, width-column)
	if len([]rune(name)) > column-2 {
		fmt.Fprintln(b, name)
		name = ""
	}
	for _, l := range lines {
		fmt.Fprintf(b, "%-*s%s\n", column, name, l)
		name = ""
	}
}

func paragraph(b *strings.Builder, text string) {
	if text == "" {
		return
	}
	for part := range strings.SplitSeq(text, "\n\n") {
		b.WriteString("\n" + strings.Join(wrap(part, width), "\n") + "\n")
	}
}

// wrap breaks a text into lines.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
