package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// interleaved puts flags that stand behind a command's arguments before them,
// as package cli wants them. Everything behind "--" is an argument.
func interleaved(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	out, rest := []string{args[0]}, args[1:]
	known, commands := app.Flags, app.Commands
	for {
		flags, behind := leading(known, rest)
		out = append(out, flags...)
		rest = behind
		c := named(commands, rest)
		if c == nil {
			break
		}
		out, rest = append(out, rest[0]), rest[1:]
		known, commands = c.Flags, c.Subcommands
	}
	if len(commands) > 0 {
		return append(out, rest...) // there is no such command; package cli says so
	}
	var arguments []string
	for len(rest) > 0 && rest[0] != "--" {
		flags, behind := leading(known, rest)
		out = append(out, flags...)
		if rest = behind; len(rest) > 0 && rest[0] != "--" {
			arguments, rest = append(arguments, rest[0]), rest[1:]
		}
	}
	if len(rest) > 0 {
		rest = rest[1:]
	}
	if len(arguments)+len(rest) > 0 {
		out = append(out, "--")
	}
	return append(append(out, arguments...), rest...)
}

// leading splits off the flags, with their values, at the beginning of args.
func leading(known []cli.Flag, args []string) (flags, rest []string) {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0] != "--" {
		n := 1
		name := strings.TrimLeft(args[0], "-")
		if !strings.Contains(name, "=") && takesValue(known, name) && len(args) > 1 {
			n = 2
		}
		flags, args = append(flags, args[:n]...), args[n:]
	}
	return flags, args
}

func takesValue(known []cli.Flag, name string) bool {
	for _, f := range known {
		for _, n := range f.Names() {
			if n == name {
				_, isBool := f.(*cli.BoolFlag)
				return !isBool
			}
		}
	}
	return false
}

func named(commands []*cli.Command, args []string) *cli.Command {
	for _, c := range commands {
		if len(args) > 0 && c.HasName(args[0]) {
			return c
		}
	}
	return nil
}
