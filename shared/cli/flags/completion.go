package flags

import (
	"fmt"
	"io"
	"strings"
)

// Shells are those that Completion writes for.
func Shells() []string { return []string{"bash", "zsh", "fish"} }

// Completion writes a script that has a shell complete the program's command line.
func (p *Program) Completion(w io.Writer, shell string) error {
	var text string
	switch shell {
	case "bash":
		text = p.bash()
	case "zsh":
		text = p.zsh()
	case "fish":
		text = p.fish()
	default:
		return fmt.Errorf("%s: not one of %s", shell, strings.Join(Shells(), ", "))
	}
	_, err := io.WriteString(w, text)
	return err
}

// commands are those that can be completed, the program itself first.
func (p *Program) commands() []Command {
	all := []Command{{Flags: p.Flags}}
	for _, c := range p.Commands {
		if !c.Hidden {
			all = append(all, c)
		}
	}
	return all
}

// typed are the ways of typing a flag.
func (f *Flag) typed() (out []string) {
	if f.Short != "" {
		out = append(out, "-"+f.Short)
	}
	for _, n := range f.names() {
		out = append(out, "--"+n)
	}
	return out
}

// files tells whether a flag's value is a path, as its word in the help says.
func (f *Flag) files() bool {
	v := f.value()
	return strings.Contains(v, "FILE") || strings.Contains(v, "PATH") || strings.Contains(v, "DIR") || strings.Contains(v, "CONTEXT")
}

func (p *Program) bash() string {
	var b strings.Builder
	fn := "_" + p.Name
	fmt.Fprintf(&b, "# bash completion of %s: source <(%s completion bash)\n%s() {\n", p.Name, p.Name, fn)
	b.WriteString(`	local cur prev command= word flags words=
	COMPREPLY=()
	cur=${COMP_WORDS[COMP_CWORD]}
	prev=${COMP_WORDS[COMP_CWORD-1]}
	# --flag=value arrives in three words
	if [[ $cur == "=" ]]; then cur=; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case "${command:+$command }$word" in
`)
	var names []string
	for _, c := range p.commands()[1:] {
		names = append(names, fmt.Sprintf("%q", c.Name))
		if word, _, ok := strings.Cut(c.Name, " "); ok {
			names = append(names, fmt.Sprintf("%q", word))
		}
	}
	fmt.Fprintf(&b, "\t\t%s) command=\"${command:+$command }$word\" ;;\n\t\tesac\n\tdone\n", strings.Join(names, "|"))
	b.WriteString("\tcase \"$command:$prev\" in\n")
	for _, c := range p.commands() {
		for _, f := range c.Flags {
			for _, t := range f.typed() {
				switch {
				case len(f.Words) > 0:
					fmt.Fprintf(&b, "\t%q:%s) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", c.Name, t, strings.Join(f.Words, " "))
				case f.files():
					fmt.Fprintf(&b, "\t%q:%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", c.Name, t)
				case f.Kind != Bool:
					fmt.Fprintf(&b, "\t%q:%s) return ;;\n", c.Name, t)
				}
			}
		}
	}
	b.WriteString("\tesac\n\tcase \"$command\" in\n")
	for _, c := range p.commands() {
		var all []string
		for _, f := range shown(c.Flags) {
			all = append(all, f.typed()...)
		}
		words := ""
		if c.Name == "" {
			words = strings.Join(p.words(), " ")
		}
		fmt.Fprintf(&b, "\t%q) flags=%q words=%q ;;\n", c.Name, strings.Join(append(all, "--help"), " "), words)
	}
	for _, w := range p.words() {
		if p.command(w) == nil {
			fmt.Fprintf(&b, "\t%q) flags=--help words=%q ;;\n", w, strings.Join(p.below(w), " "))
		}
	}
	b.WriteString(`	esac
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$flags" -- "$cur"))
	elif [[ -n $words ]]; then
		COMPREPLY=($(compgen -W "$words" -- "$cur"))
	else
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
}
`)
	fmt.Fprintf(&b, "complete -o filenames -F %s %s\n", fn, p.Name)
	return b.String()
}

func (p *Program) zsh() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n# zsh completion of %s: write it to a file _%s in a directory of $fpath\n", p.Name, p.Name, p.Name)
	for _, c := range p.commands()[1:] {
		fmt.Fprintf(&b, "_%s_%s() {\n\t_arguments -s \\\n", p.Name, symbol(c.Name))
		zshFlags(&b, c.Flags)
		b.WriteString("\t\t'*: :_files'\n}\n")
	}
	fmt.Fprintf(&b, "_%s() {\n\tlocal curcontext=$curcontext state line ret=1\n\tlocal -a commands\n\tcommands=(\n", p.Name)
	for _, w := range p.words() {
		doc := w + " commands"
		if c := p.command(w); c != nil {
			doc = c.Doc
		}
		fmt.Fprintf(&b, "\t\t'%s:%s'\n", w, zshQuote(doc))
	}
	b.WriteString("\t)\n\t_arguments -s -C \\\n")
	zshFlags(&b, p.Flags)
	b.WriteString("\t\t'1: :->command' '*:: :->rest' && ret=0\n\tcase $state in\n\tcommand) _describe command commands && ret=0 ;;\n\trest)\n\t\tcase $line[1] in\n")
	for _, w := range p.words() {
		if p.command(w) != nil {
			fmt.Fprintf(&b, "\t\t%s) _%s_%s && ret=0 ;;\n", w, p.Name, symbol(w))
			continue
		}
		fmt.Fprintf(&b, "\t\t%s)\n\t\t\tif (( CURRENT == 2 )); then compadd %s && ret=0; return ret; fi\n", w, strings.Join(p.below(w), " "))
		b.WriteString("\t\t\tshift words; (( CURRENT-- ))\n\t\t\tcase $words[1] in\n")
		for _, sub := range p.below(w) {
			fmt.Fprintf(&b, "\t\t\t%s) _%s_%s && ret=0 ;;\n", sub, p.Name, symbol(w+" "+sub))
		}
		b.WriteString("\t\t\tesac ;;\n")
	}
	fmt.Fprintf(&b, "\t\tesac ;;\n\tesac\n\treturn ret\n}\nif [[ $funcstack[1] == _%s ]]; then _%s \"$@\"; else compdef _%s %s; fi\n", p.Name, p.Name, p.Name, p.Name)
	return b.String()
}

// symbol is a command's name as part of a function's.
func symbol(name string) string { return strings.NewReplacer("-", "_", " ", "_").Replace(name) }

func zshFlags(b *strings.Builder, table []Flag) {
	for _, f := range shown(table) {
		star, action := "", ""
		if f.many() {
			star = "*"
		}
		switch {
		case len(f.Words) > 0:
			action = fmt.Sprintf(":%s:(%s)", strings.ToLower(f.Name), strings.Join(f.Words, " "))
		case f.files():
			action = ":" + zshQuote(strings.ToLower(f.value())) + ":_files"
		case f.Kind != Bool:
			action = ":" + zshQuote(strings.ToLower(f.value())) + ": "
		}
		for _, t := range f.typed() {
			spec := t
			if action != "" && strings.HasPrefix(t, "--") {
				spec += "="
			}
			fmt.Fprintf(b, "\t\t'%s%s[%s]%s' \\\n", star, spec, zshQuote(f.Doc), action)
		}
	}
}

// zshQuote escapes what means something inside a specification in single quotes.
func zshQuote(s string) string {
	return strings.NewReplacer(`'`, `'\''`, `[`, `\[`, `]`, `\]`, `:`, `\:`).Replace(s)
}

func (p *Program) fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# fish completion of %s: %s completion fish | source\n", p.Name, p.Name)
	none := "not __fish_seen_subcommand_from " + strings.Join(p.words(), " ")
	for _, w := range p.words() {
		doc := ""
		if c := p.command(w); c != nil {
			doc = c.Doc
		}
		fmt.Fprintf(&b, "complete -c %s -n '%s' -a %s -d %s\n", p.Name, none, w, fishQuote(doc))
	}
	for _, c := range p.commands() {
		when := none
		word, sub, two := strings.Cut(c.Name, " ")
		switch {
		case two:
			seen := "__fish_seen_subcommand_from "
			fmt.Fprintf(&b, "complete -c %s -n '%s%s; and not %s%s' -a %s -d %s\n", p.Name, seen, word, seen, strings.Join(p.below(word), " "), sub, fishQuote(c.Doc))
			when = seen + word + "; and " + seen + sub
		case word != "":
			when = "__fish_seen_subcommand_from " + word
		}
		for _, f := range shown(c.Flags) {
			fmt.Fprintf(&b, "complete -c %s -n '%s'", p.Name, when)
			if f.Short != "" {
				b.WriteString(" -s " + f.Short)
			}
			for _, n := range f.names() {
				b.WriteString(" -l " + n)
			}
			switch {
			case len(f.Words) > 0:
				fmt.Fprintf(&b, " -x -a %s", fishQuote(strings.Join(f.Words, " ")))
			case f.files():
				b.WriteString(" -r -F")
			case f.Kind != Bool:
				b.WriteString(" -x")
			}
			fmt.Fprintf(&b, " -d %s\n", fishQuote(f.Doc))
		}
	}
	return b.String()
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
