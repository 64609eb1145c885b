package conformance

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/strake-build/strake/integration/buildkit"
	"github.com/strake-build/strake/integration/imagetree"
	"github.com/strake-build/strake/integration/testkit"
)

var (
	update = flag.Bool("update", false, "write BuildKit's answers to testdata/golden; strake is not run")
	live   = flag.Bool("live", false, "ask BuildKit instead of reading its answers from testdata/golden")
	view   = flag.String("isolation", "auto", "strake's view: auto, overlay or chroot")
	kit    *testkit.Kit
)

func TestMain(m *testing.M) {
	testkit.Main(m, func(k *testkit.Kit) { kit = k }, "busybox:latest", "busybox:docker", "multiarch:latest")
}

// TestConformance builds every case and compares its description with BuildKit's. It prints a score and fails for
// every difference that docs/differences.md does not justify.
func TestConformance(t *testing.T) {
	cases, err := ReadCases("testdata/cases")
	if err != nil {
		t.Fatal(err)
	}
	base, err := baseTree(t.Context(), kit.Registry)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{base: base, justified: readDifferences(t)}
	if *update || *live {
		h.daemon = startBuildKit(t)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) { h.run(t, c) })
	}
	t.Logf("score: strake %d of %d cases as BuildKit, %d more differ for a documented reason", h.same, len(cases), h.excused)
	fmt.Printf("conformance %d/%d\n", h.same, len(cases))
}

type harness struct {
	base      imagetree.Tree
	daemon    *buildkit.Daemon
	justified []string

	mu            sync.Mutex
	same, excused int
}

func startBuildKit(t *testing.T) *buildkit.Daemon {
	root, err := testkit.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bin, err := buildkit.Install(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	d, err := buildkit.Start(t.Context(), bin, filepath.Join(kit.Dir, "buildkit"), kit.Registry)
	if errors.Is(err, buildkit.ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (h *harness) run(t *testing.T, c Case) {
	golden := filepath.Join("testdata/golden", c.Name+".txt")
	var want []string
	if h.daemon != nil {
		want = h.byBuildKit(t, c)
	} else {
		want = readLines(t, golden)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(strings.Join(want, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	diff := imagetree.Diff(want, h.byStrake(t, c))
	h.judge(t, c, diff)
}

func (h *harness) judge(t *testing.T, c Case, diff []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch excused := slices.Contains(h.justified, c.Name); {
	case len(diff) == 0 && excused:
		h.same++
		t.Errorf("docs/differences.md lists this case, but it is as BuildKit's now")
	case len(diff) == 0:
		h.same++
	case excused:
		h.excused++
		t.Logf("differs, as documented:\n%s", strings.Join(diff, "\n"))
	default:
		t.Errorf("%s\n- BuildKit, + strake:\n%s", c.About, strings.Join(diff, "\n"))
	}
}

func (h *harness) byBuildKit(t *testing.T, c Case) []string {
	t.Helper()
	j, err := newJob(t.Context(), c, t.TempDir(), kit.Registry)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	ref := kit.NewRef("buildkit")
	out, err := j.buildBuildKit(t.Context(), h.daemon, ref)
	if err != nil {
		t.Fatal(err)
	}
	if out.failed != (c.One("fails") != "") {
		t.Fatalf("BuildKit failed: %v, but the case says %q\n%s", out.failed, c.One("fails"), last(out.log, 400))
	}
	return h.describe(t, j, out, ref)
}

func (h *harness) byStrake(t *testing.T, c Case) []string {
	t.Helper()
	j, err := newJob(t.Context(), c, t.TempDir(), kit.Registry)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	ref := kit.NewRef("strake")
	out, err := j.buildStrake(t.Context(), kit, ref, *view)
	if err != nil {
		t.Fatal(err)
	}
	fails := c.One("fails")
	if out.failed && fails == "" {
		t.Logf("build failed:\n%s", last(out.log, 2500))
	}
	if out.failed && fails != "" && !strings.Contains(strings.ToLower(out.log), strings.ToLower(fails)) {
		t.Errorf("failed, but did not say %q:\n%s", fails, last(out.log, 1500))
	}
	return h.describe(t, j, out, ref)
}

func (h *harness) describe(t *testing.T, j *job, out outcome, ref string) []string {
	t.Helper()
	if out.failed {
		return []string{"fails"}
	}
	images, err := imagetree.Pull(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := j.describe(images, h.base)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range out.lint {
		lines = append(lines, "lint "+rule)
	}
	return lines
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

func readLines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: write BuildKit's answer down with make conformance-golden", err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// readDifferences reads the cases whose difference is meant: the names in the first column of the document's table.
func readDifferences(t *testing.T) []string {
	t.Helper()
	root, err := testkit.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "docs", "differences.md"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(b), -1) {
		names = append(names, m[1])
	}
	return names
}
