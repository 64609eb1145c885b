package flags_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/cli/flags"
)

func program(config string) *flags.Program {
	table := []flags.Flag{
		{Name: "context", Short: "c", Value: "CONTEXT", Default: "/workspace/", Group: "Build", State: flags.Kept, Doc: "the context"},
		{Name: "file", Short: "f", Value: "FILE", Aliases: []string{"oldFile"}, Group: "Build", State: flags.Kept, Doc: "the file"},
		{Name: "arg", Kind: flags.Pairs, Bare: true, Group: "Build", State: flags.Kept, Doc: "an argument"},
		{Name: "label", Kind: flags.Pairs, Group: "Build", State: flags.Kept, Doc: "a label [of the image]: it's there"},
		{Name: "push", Short: "d", Kind: flags.List, Value: "REF", Group: "Output", State: flags.Kept, Doc: "where to"},
		{Name: "no-push", Short: "n", Kind: flags.Bool, Env: []string{"KANIKO_NO_PUSH"}, Group: "Output", State: flags.Kept, Doc: "stay"},
		{Name: "force", Short: "x", Kind: flags.Bool, Group: "Output", State: flags.Noted, Note: "not needed"},
		{Name: "map", Kind: flags.List, Env: []string{"KANIKO_MAP"}, Adds: true, Group: "Output", State: flags.Fixed, Doc: "a map", Note: "works"},
		{Name: "level", Kind: flags.Int, Default: "-1", Group: "Output", Doc: "a level"},
		{Name: "ttl", Kind: flags.Duration, Default: "336h", Group: "Output", Doc: "an age"},
		{Name: "mode", Default: "full", Words: []string{"full", "redo"}, Group: "Output", Doc: "a mode", Note: "one mode is used", Warns: true},
		{Name: "key", Secret: true, Group: "Output", Doc: "a key"},
		{Name: "ghost", Hidden: true, Group: "Output", Doc: "not shown"},
		flags.ConfigFlag("Output", config),
	}
	own := flags.Flag{Name: "format", Default: "text", Words: []string{"text", "json"}, Local: true, Group: "Own", Doc: "of the result"}
	return &flags.Program{
		Name: "prog", Doc: "do it", Long: "At length.\n\nAnd more.", Flags: table, Config: config,
		Commands:  []flags.Command{{Name: "check", Doc: "look only", Long: "It's short.", Flags: append([]flags.Flag{own}, table...)}, {Name: "sleep", Args: "TIME", Doc: "wait"}, {Name: "store ls", Doc: "list", Flags: []flags.Flag{own}}, {Name: "store gc", Doc: "collect"}},
		Variables: []flags.Variable{{Name: "FF_OLD", State: flags.Noted, Doc: "always so"}, {Name: "OTHER", Doc: "something"}},
		Families:  []string{"STRAKE_", "FF_"},
	}
}

func TestProgramCheck(t *testing.T) {
	if err := program("").Check(); err != nil {
		t.Error(err)
	}
	bad := &flags.Program{Flags: []flags.Flag{
		{Name: "a", Group: "g", Doc: "d", Default: "x", Kind: flags.Int},
		{Name: "b", Aliases: []string{"a"}, Group: "g", Doc: "d"},
		{Name: "c", Doc: "d"},
		{Name: "d", Group: "g", State: flags.Noted},
	}}
	err := bad.Check()
	for _, want := range []string{"--a has the default x", "the name a is taken", "--c wants", "--d has a notice without words"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q in it", err, want)
		}
	}
}

// What pflag makes of a command line, as kaniko has it.
func TestParse(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "--"},
		{"--context=.", "--context=. --"},
		{"--context .", "--context=. --"},
		{"-c .", "--context=. --"},
		{"-c=.", "--context=. --"},
		{"-c.", "--context=. --"},
		{"--context --no-push", "--context=--no-push --"},
		{"--context=", "--context= --"},
		{"--oldFile=x", "--file=x --"},
		{"--file a --oldFile b", "--file=b --"},
		{"-d a --push b", "--push=a --push=b --"},
		{"-d a,b", "--push=a,b --"},
		{"--arg A=1 --arg B", "--arg=A=1 --arg=B --"},
		{"--no-push", "--no-push=true --"},
		{"--no-push=1 --force=T", "--no-push=1 --force=T --"},
		{"--no-push=false --no-push", "--no-push=true --"},
		{"-nx", "--no-push=true --force=true --"},
		{"-nc.", "--context=. --no-push=true --"},
		{"-n=false", "--no-push=false --"},
		{"--no-push false", "--no-push=true -- false"},
		{"--level -1", "--level=-1 --"},
		{"a --no-push b", "--no-push=true -- a b"},
		{"a -- --no-push", "-- a --no-push"},
		{"-", "-- -"},
		{"check --format json -c .", "check --format=json --context=. --"},
		{"-c . check --format json", "check --format=json --context=. --"},
		{"sleep 5", "sleep -- 5"},
		{"x check", "-- x check"},
		{"store ls --format json a", "store ls --format=json -- a"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			s, err := program("").Resolve(strings.Fields(tt.args), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(s.CommandLine(), " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--nothing", "--nothing: there is no such flag"},
		{"--contxt .", "--contxt: there is no such flag (did you mean --context?)"},
		{"-q", "-q: there is no such flag"},
		{"-context .", "-context: a long name wants two dashes, --context"},
		{"--context", "--context: wants a value"},
		{"-c", "-c: wants a value"},
		{"--no-push=perhaps", "--no-push perhaps: want true or false"},
		{"--level many", "--level many: not a number"},
		{"--ttl 14", "--ttl 14: not a duration such as 336h or 90m"},
		{"--label x", "--label x: want KEY=VALUE"},
		{"--label =x", "--label =x: want KEY=VALUE"},
		{"--arg =x", "--arg =x: want NAME=VALUE or NAME"},
		{"--mode slow", "--mode slow: not one of full, redo"},
		{"--format json", "--format: there is no such flag"},
		{"-c . sleep 5", "-c: prog sleep has no such flag"},
		{"store", "prog store: want one of ls, gc"},
		{"store rm x", "prog store rm: there is no such command; there are ls, gc"},
		{"store gc --format json", "--format: there is no such flag"},
		{"--label x --mode y", "--label x: want KEY=VALUE\n--mode y: not one of full, redo"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			_, err := program("").Resolve(strings.Fields(tt.args), nil)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

const someFile = `# remarks
no-push: true
push: [a, b]
arg: {A: 1, B: two words}
label:
  - x=y
oldFile: of the file
check-format: json
`

func TestPrecedence(t *testing.T) {
	file := write(t, someFile)
	for _, tt := range []struct {
		name, flag string
		args, env  []string
		want       []string
		origin     string
	}{
		{name: "default", flag: "context", want: []string{"/workspace/"}, origin: "default"},
		{name: "default of a boolean", flag: "force", want: []string{"false"}, origin: "default"},
		{name: "file", flag: "no-push", want: []string{"true"}, origin: file + ":2"},
		{name: "list of the file", flag: "push", want: []string{"a", "b"}, origin: file + ":3"},
		{name: "mapping of the file", flag: "arg", want: []string{"A=1", "B=two words"}, origin: file + ":4"},
		{name: "alias in the file", flag: "file", want: []string{"of the file"}, origin: file + ":7"},
		{name: "kaniko's variable", flag: "no-push", env: []string{"KANIKO_NO_PUSH=false"}, want: []string{"false"}, origin: "KANIKO_NO_PUSH"},
		{name: "our variable", flag: "no-push", env: []string{"KANIKO_NO_PUSH=true", "STRAKE_NO_PUSH=false"}, want: []string{"false"}, origin: "STRAKE_NO_PUSH"},
		{name: "empty variable", flag: "no-push", env: []string{"STRAKE_NO_PUSH="}, want: []string{"true"}, origin: file + ":2"},
		{name: "lines of a variable", flag: "push", env: []string{"STRAKE_PUSH=x\ny,z\n"}, want: []string{"x", "y,z"}, origin: "STRAKE_PUSH"},
		{name: "flag", flag: "no-push", args: []string{"--no-push=0"}, env: []string{"STRAKE_NO_PUSH=true"}, want: []string{"0"}, origin: "--no-push"},
		{name: "list of flags", flag: "push", args: []string{"-d", "q"}, env: []string{"STRAKE_PUSH=x"}, want: []string{"q"}, origin: "-d"},
		{name: "both", flag: "map", args: []string{"--map", "q"}, env: []string{"KANIKO_MAP=x"}, want: []string{"q", "x"}, origin: "--map, KANIKO_MAP"},
		{name: "a command's own", flag: "format", args: []string{"check"}, want: []string{"json"}, origin: file + ":8"},
		{name: "a command's variable", flag: "format", args: []string{"check"}, env: []string{"STRAKE_CHECK_FORMAT=text"}, want: []string{"text"}, origin: "STRAKE_CHECK_FORMAT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := program(file).Resolve(tt.args, tt.env)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range s.All {
				if x.Flag.Name == tt.flag && (!reflect.DeepEqual(x.Values, tt.want) || x.Origin != tt.origin) {
					t.Errorf("got %q of %s, want %q of %s", x.Values, x.Origin, tt.want, tt.origin)
				}
			}
		})
	}
}

func TestFileIsNamed(t *testing.T) {
	file, other := write(t, "context: one\n"), write(t, "context: two\n")
	for _, tt := range []struct {
		args, env []string
		want      string
	}{
		{want: "/workspace/"},
		{args: []string{"--config", file}, want: "one"},
		{env: []string{"STRAKE_CONFIG=" + other}, want: "two"},
		{args: []string{"--config", file}, env: []string{"STRAKE_CONFIG=" + other}, want: "one"},
	} {
		s, err := program("/nowhere/at/all").Resolve(tt.args, tt.env)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Get("context"); got != tt.want {
			t.Errorf("%v %v: %s, want %s", tt.args, tt.env, got, tt.want)
		}
	}
	if s, err := program(file).Resolve([]string{"check"}, nil); err != nil || s.Get("context") != "one" || s.File != file {
		t.Errorf("the usual place: %s of %s, %v", s.Get("context"), s.File, err)
	}
	if _, err := program("").Resolve([]string{"--config", "/nowhere"}, nil); err == nil || !strings.Contains(err.Error(), "/nowhere: no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestFileMistakes(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"context: a\ncontxt: b\n", ":2: contxt: there is no such setting"},
		{"context: a\ncontext: b\n", ":2: context: is there twice"},
		{"file: a\noldFile: b\n", ":2: oldFile: is there twice"},
		{"format: json\n", ":1: format: there is no such setting"},
		{"config: x\n", ":1: config: there is no such setting"},
		{"context:\n", ":1: context: want one value"},
		{"context: [a]\n", ":1: context: want one value"},
		{"push: {a: b}\n", ":1: push: want a value or a list of values"},
		{"\npush:\n  - [a]\n", ":3: push: want a list of values"},
		{"arg:\n  A: [b]\n", ":2: arg: want KEY: VALUE lines"},
		{"label: [x]\n", ":1: label: x: want KEY=VALUE"},
		{"no-push: perhaps\n", ":1: no-push: perhaps: want true or false"},
		{"mode: slow\n", ":1: mode: slow: not one of full, redo"},
		{"- context\n", ":1: want NAME: VALUE lines"},
		{"context: a\n---\ncontext: b\n", "more than one document"},
		{"context: [\n", "yaml: line"},
		{strings.Repeat("# remark\n", 200000), "larger than 1048576 bytes"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			_, err := program("").Resolve([]string{"--config", write(t, tt.text)}, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
	for _, text := range []string{"", "# nothing\n", "null\n", "{}\n"} {
		if _, err := program("").Resolve([]string{"--config", write(t, text)}, nil); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestVariableMistakes(t *testing.T) {
	_, err := program("").Resolve(nil, []string{"KANIKO_NO_PUSH=perhaps", "STRAKE_ARG=TOKEN_X=1\n=y"})
	if want := "STRAKE_ARG==y: want NAME=VALUE or NAME\nKANIKO_NO_PUSH=perhaps: want true or false"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNotices(t *testing.T) {
	for _, tt := range []struct {
		args, env []string
		want      []string
	}{
		{},
		{args: []string{"--mode", "full", "--no-push"}},
		{args: []string{"--mode", "redo", "--force=false"}, want: []string{"--force: not needed", "--mode redo: one mode is used"}},
		{env: []string{"STRAKE_FORCE=1"}, want: []string{"STRAKE_FORCE: not needed"}},
		{env: []string{"FF_OLD=1", "FF_NEW=1", "STRAKE_X=1"}, want: []string{"FF_OLD: always so", "FF_NEW: there is no such variable", "STRAKE_X: there is no such variable"}},
		{env: []string{"STRAKE_PORT=tcp://10.0.0.1:80", "STRAKE_SERVICE_HOST=10.0.0.1", "STRAKE_PORT_80_TCP_ADDR=10.0.0.1", "STRAKE_CHECK_FORMAT=json", "OTHER=1"}},
		{args: []string{"--no-push"}, env: []string{"KANIKO_NO_PUSH=1"}},
		{args: []string{"--no-push"}, env: []string{"KANIKO_NO_PUSH=0"}, want: []string{"--no-push counts, and KANIKO_NO_PUSH is passed over"}},
		{env: []string{"STRAKE_NO_PUSH=0", "KANIKO_NO_PUSH=1"}, want: []string{"STRAKE_NO_PUSH counts, and KANIKO_NO_PUSH is passed over"}},
	} {
		s, err := program("").Resolve(tt.args, tt.env)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Notices(); strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
			t.Errorf("%v %v: got %q, want %q", tt.args, tt.env, got, tt.want)
		}
	}
}

func TestShownSettingsHideSecrets(t *testing.T) {
	s, err := program("").Resolve([]string{
		"--key", "s3cret", "--arg", "API_TOKEN=s3cret", "--arg", "VERSION=1", "--context", "https://user:s3cret@h/r.git?sig=s3cret#main",
		"--map", "a=https://s3cret@h", "--arg", "URL=https://x:s3cret@h/p",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text, js bytes.Buffer
	if err := s.Text(&text); err != nil {
		t.Fatal(err)
	}
	if err := s.JSON(&js); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{text.String(), js.String()} {
		if strings.Contains(out, "s3cret") {
			t.Errorf("a secret is shown:\n%s", out)
		}
		for _, want := range []string{"VERSION=1", "API_TOKEN=***", "https://***@h/r.git?***#main", "--context"} {
			if !strings.Contains(out, want) {
				t.Errorf("want %q in:\n%s", want, out)
			}
		}
	}
	if _, err := program("").Resolve([]string{"--label", "s3cret", "--arg", "=x"}, nil); err == nil {
		t.Error("no error")
	}
}

// Each script is read by its own shell, where that is installed.
func TestCompletion(t *testing.T) {
	for _, shell := range flags.Shells() {
		t.Run(shell, func(t *testing.T) {
			var b bytes.Buffer
			if err := program("").Completion(&b, shell); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"check", "no-push", "oldFile"} {
				if !strings.Contains(b.String(), want) {
					t.Errorf("no %s", want)
				}
			}
			if strings.Contains(b.String(), "ghost") {
				if shell != "bash" { // which completes its value all the same
					t.Error("a hidden flag is offered")
				}
			}
			if _, err := exec.LookPath(shell); err != nil {
				t.Skipf("no %s here", shell)
			}
			cmd := exec.Command(shell, "-n")
			cmd.Stdin = &b
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	if err := program("").Completion(&bytes.Buffer{}, "csh"); err == nil || err.Error() != "csh: not one of bash, zsh, fish" {
		t.Error(err)
	}
}

func TestBashCompletes(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	var script bytes.Buffer
	if err := program("").Completion(&script, "bash"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ words, want string }{
		{"prog --no", "--no-push"},
		{"prog ch", "check"},
		{"prog --mode ", "full redo"},
		{"prog --mode = r", "redo"},
		{"prog check --for", "--format --force"},
		{"prog check --format j", "json"},
		{"prog --level ", ""},
		{"prog s", "sleep store"},
		{"prog store ", "ls gc"},
		{"prog store ls --f", "--format"},
		{"prog store ls --format j", "json"},
	} {
		words := strings.Split(tt.words, " ")
		line := script.String() + "\nCOMP_WORDS=(" + strings.Join(quote(words), " ") + ") COMP_CWORD=" + string(rune('0'+len(words)-1)) + "\n_prog\necho \"${COMPREPLY[*]}\"\n"
		out, err := exec.Command("bash", "--norc", "-c", line).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.words, out, err, tt.want)
		}
	}
}

func quote(words []string) (out []string) {
	for _, w := range words {
		out = append(out, "'"+w+"'")
	}
	return out
}

func TestHelp(t *testing.T) {
	p := program("/etc/x.yaml")
	main, check := p.Help(""), p.Help("check")
	for _, want := range []string{"prog COMMAND [FLAG…]", "\nBuild:\n", "  -c, --context CONTEXT", "(default /workspace/)", "also --oldFile", "$KANIKO_NO_PUSH", "not needed", "And more."} {
		if !strings.Contains(main, want) {
			t.Errorf("no %q in:\n%s", want, main)
		}
	}
	for _, want := range []string{"prog check [FLAG…]", "It's short.", "of the result: text, json", "--context"} {
		if !strings.Contains(check, want) {
			t.Errorf("no %q in:\n%s", want, check)
		}
	}
	for line := range strings.SplitSeq(main, "\n") {
		if len([]rune(line)) > 100 {
			t.Errorf("long line: %s", line)
		}
	}
	if strings.Contains(main, "ghost") {
		t.Error("a hidden flag is shown")
	}
}

func TestMan(t *testing.T) {
	var b bytes.Buffer
	if err := program("/etc/x.yaml").Man(&b, "1.0"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".TH PROG 1", ".SS Build", `\-\-no\-push`, ".SH ENVIRONMENT", "/etc/x.yaml", "prog check"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	for _, tool := range [][]string{{"groff", "-man", "-ww", "-Tutf8", "-z"}, {"mandoc", "-Tlint", "-Werror"}} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			continue
		}
		cmd := exec.Command(tool[0], tool[1:]...)
		cmd.Stdin = bytes.NewReader(b.Bytes())
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", tool[0], err, out)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := program("/etc/x.yaml").Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `-c`, `--context` CONTEXT | `/workspace/` | `STRAKE_CONTEXT` | kept | the context |",
		"| `--oldFile` |  |  | alias | `--file` |",
		"| notice | taken with a notice: not needed |",
		"| fixed | a map. **Differs:** works |",
		"| `--format` text\\|json | `text` | `STRAKE_CHECK_FORMAT` | new | of the result |",
		"| `FF_OLD` | notice | always so |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

func TestFromCLI(t *testing.T) {
	got := flags.FromCLI(flags.Kept, []cli.Flag{
		&cli.BoolFlag{Name: "a", Value: true, Category: "g", Usage: "u", EnvVars: []string{"A"}, Hidden: true},
		&cli.IntFlag{Name: "b", Value: 4},
		&cli.DurationFlag{Name: "c", Value: time.Hour},
		&cli.StringSliceFlag{Name: "d", Aliases: []string{"x", "other"}, Usage: "u (repeatable)"},
		&cli.StringFlag{Name: "e", Value: "v", Usage: "`FILE`: u"},
	})
	want := []flags.Flag{
		{Name: "a", Kind: flags.Bool, Default: "true", Group: "g", Doc: "u", Env: []string{"A"}, Hidden: true, State: flags.Kept},
		{Name: "b", Kind: flags.Int, Default: "4", State: flags.Kept},
		{Name: "c", Kind: flags.Duration, Default: "1h0m0s", State: flags.Kept},
		{Name: "d", Kind: flags.List, Short: "x", Aliases: []string{"other"}, Doc: "u", State: flags.Kept},
		{Name: "e", Default: "v", Value: "FILE", Doc: "u", State: flags.Kept},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
