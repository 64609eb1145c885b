package frontend_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/strake-build/strake/shared/frontend"
)

var update = flag.Bool("update", false, "write what comes out into the cases")

// TestCases runs testdata/*.txtar. The comment of a case has its options, a
// word and a value per line; the file "want" has what comes out.
func TestCases(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal("no cases:", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runCase(t, name)
		})
	}
}

func runCase(t *testing.T, name string) {
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
	if i < 0 {
		t.Fatal("no file want")
	}
	want := a.Files[i].Data
	a.Files = slices.Delete(a.Files, i, i+1)
	got := answer(t, a)
	if *update {
		a.Files = append(a.Files, txtar.File{Name: "want", Data: got})
		if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("-want +got (go test -update writes it):\n%s", diff)
	}
}

// answer builds or lints the case and prints all that comes back.
func answer(t *testing.T, a *txtar.Archive) []byte {
	var b bytes.Buffer
	req, words := request(t, string(a.Comment))
	e := &archiveEngine{Archive: a}
	if words["lint"] {
		res, err := frontend.Lint(t.Context(), req, e)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range res.Warnings {
			fmt.Fprintln(&b, "warning", w)
		}
		if res.Err != nil {
			printError(&b, res.Err)
		}
		return b.Bytes()
	}
	res, err := frontend.Build(t.Context(), req, e, func(w frontend.Warning) { fmt.Fprintln(&b, "warning", w) })
	if err != nil {
		printError(&b, err)
		return b.Bytes()
	}
	for _, p := range res.Platforms {
		fmt.Fprintln(&b, "platform", platforms.FormatAll(p.Platform))
		if p.Epoch != nil {
			fmt.Fprintln(&b, "epoch", p.Epoch.Unix())
		}
		b.WriteString(p.Graph.Text())
		if words["config"] {
			fmt.Fprintf(&b, "config %s\n", p.Config)
		}
	}
	return b.Bytes()
}

func printError(b *bytes.Buffer, err error) {
	fmt.Fprintln(b, "error", err)
	var located *frontend.Error
	if !errors.As(err, &located) {
		return
	}
	for _, p := range located.Positions {
		fmt.Fprintln(b, "at", p)
	}
	for _, l := range located.Excerpt(1) {
		mark := "   "
		if l.Marked {
			mark = ">>>"
		}
		fmt.Fprintf(b, "%4d %s %s\n", l.Number, mark, l.Text)
	}
}

// request reads the options of a case.
func request(t *testing.T, comment string) (frontend.Request, map[string]bool) {
	req := frontend.Request{
		BuildPlatform: host(),
		BuildArgs:     map[string]string{}, Labels: map[string]string{}, Contexts: map[string]string{}, Opts: map[string]string{},
	}
	words := make(map[string]bool)
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, value, _ := strings.Cut(line, " ")
		words[word] = true
		setOption(t, &req, word, value)
	}
	return req, words
}

func setOption(t *testing.T, req *frontend.Request, word, value string) {
	k, v, _ := strings.Cut(value, "=")
	switch word {
	case "lint", "config":
	case "filename":
		req.Filename = value
	case "target":
		req.Target = value
	case "arg":
		req.BuildArgs[k] = v
	case "label":
		req.Labels[k] = v
	case "named":
		req.Contexts[k] = v
	case "opt":
		req.Opts[k] = v
	case "context":
		req.MainContext = value
	case "platform":
		req.Platforms = append(req.Platforms, platforms.MustParse(value))
	case "nocache":
		req.NoCache = true
	case "nocachefilter":
		req.NoCacheFilter = append(req.NoCacheFilter, value)
	case "addhost":
		req.AddHosts = append(req.AddHosts, value)
	case "ulimit":
		req.Ulimits = append(req.Ulimits, value)
	case "network":
		req.Network = value
	case "hostname":
		req.Hostname = value
	case "cgroupparent":
		req.CgroupParent = value
	case "shmsize":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		req.ShmSize = n
	case "epoch":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(n, 0)
		req.SourceDateEpoch = &at
	default:
		t.Fatalf("option %s: not known", word)
	}
}

var _ frontend.Engine = (*archiveEngine)(nil)
