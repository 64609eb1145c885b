package flags

import (
	"fmt"
	"io"
	"strings"
)

// Man writes the program's manual page (section 1) in the man macros of troff.
func (p *Program) Man(w io.Writer, version string) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"strake %s\" \"User Commands\"\n", strings.ToUpper(p.Name), roff(version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", p.Name, roff(p.Doc))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.RI [ FLAG ...]\n.br\n.B %s\n.I COMMAND\n.RI [ FLAG ...]\n", p.Name, p.Name)
	b.WriteString(".SH DESCRIPTION\n")
	for i, part := range strings.Split(p.Long, "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		fmt.Fprintln(&b, roff(strings.Join(strings.Fields(part), " ")))
	}
	p.manFlags(&b, "", p.Flags)
	b.WriteString(".SH COMMANDS\n")
	told := told(p.Flags)
	for _, c := range p.commands()[1:] {
		fmt.Fprintf(&b, ".SS %s\n%s\n", roff(p.usage(&c)), roff(sentence(c.Doc)))
		if c.Long != "" {
			fmt.Fprintf(&b, ".PP\n%s\n", roff(strings.Join(strings.Fields(c.Long), " ")))
		}
		own, others := told.split(c.Flags)
		p.manEntries(&b, c.Name, own)
		if len(others) > 0 {
			fmt.Fprintf(&b, ".PP\nThe flags of these groups are taken, too: %s.\n", roff(strings.Join(groups(others), ", ")))
		}
	}
	b.WriteString(".SH ENVIRONMENT\nEvery flag is also set by a variable: STRAKE_ and its name in capitals, with _ for \\-;\nseveral values stand on lines of their own.\n")
	for _, v := range p.Variables {
		if v.State != Noted {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(v.Name), roff(v.Doc))
		}
	}
	fmt.Fprintf(&b, ".SH FILES\n.TP\n.B %s\nSettings, by the names of flags, as YAML. The command line counts before the environment,\nthe environment before the file.\n", roff(p.Config))
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Program) manFlags(b *strings.Builder, command string, table []Flag) {
	b.WriteString(".SH OPTIONS\n")
	for _, g := range groups(shown(table)) {
		fmt.Fprintf(b, ".SS %s\n", roff(g))
		p.manEntries(b, command, Only(shown(table), g))
	}
}

func (p *Program) manEntries(b *strings.Builder, command string, table []Flag) {
	for _, f := range table {
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(f.heading())), roff(sentence(f.explain(command))))
	}
}

// roff escapes what means something to troff.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`, "…", "...", "→", `\(->`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
