package build_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/cache"
)

// dockerfile writes a random one. What its steps do depends on nothing but what
// they are made from.
func dockerfile(r *rand.Rand) string {
	var b strings.Builder
	stages := 1 + r.IntN(3)
	name := func() string { return "/" + string(rune('a'+r.IntN(5))) }
	for s := range stages {
		fmt.Fprintf(&b, "FROM BASE AS s%d\n", s)
		for range 1 + r.IntN(4) {
			p, q := name(), name()
			switch r.IntN(14) {
			case 0:
				fmt.Fprintf(&b, "RUN mkdir -p %s; echo %d >%s/f\n", p, r.IntN(3), p)
			case 1:
				fmt.Fprintf(&b, "RUN rm -rf %s\n", p)
			case 2:
				fmt.Fprintf(&b, "RUN ln -sf %s/f /l\n", p)
			case 3:
				fmt.Fprintf(&b, "RUN [ ! -e %[1]s/f ] || ln -f %[1]s/f /hard\n", p)
			case 4:
				fmt.Fprintf(&b, "RUN [ ! -e %[1]s ] || { chmod %[2]d %[1]s; chown -R %[3]d %[1]s; }\n", p, []int{700, 711, 1777}[r.IntN(3)], r.IntN(3))
			case 5:
				fmt.Fprintf(&b, "RUN true\n")
			case 6:
				fmt.Fprintf(&b, "RUN rm -rf %[1]s; mv %[2]s %[1]s || true\n", p, q)
			case 7, 8:
				fmt.Fprintf(&b, "COPY dir%d %s\n", r.IntN(3), p)
			case 9:
				fmt.Fprintf(&b, "COPY --chown=%d --chmod=7%d5 dir%d/f* %s/\n", r.IntN(3), r.IntN(8), r.IntN(3), p)
			case 10:
				if s > 0 {
					fmt.Fprintf(&b, "COPY --from=s%d /etc%s* %s/\n", r.IntN(s), []string{"", "/passwd"}[r.IntN(2)], p)
				}
			case 11:
				if s > 0 {
					fmt.Fprintf(&b, "RUN --mount=from=s%d,target=/m ls -R /m/tmp /m/a /m/b >/list 2>/dev/null; true\n", r.IntN(s))
				}
			case 12:
				fmt.Fprintf(&b, "ENV V=%d\nWORKDIR %s\n", r.IntN(2), []string{"/w", "/w/x", "/"}[r.IntN(3)])
			case 13:
				fmt.Fprintf(&b, "COPY --link dir%d %s\n", r.IntN(3), "/linked")
			}
		}
	}
	return b.String()
}

// change does something to the context.
func change(t *testing.T, r *rand.Rand, p *pair) {
	t.Helper()
	dir := "dir" + strconv.Itoa(r.IntN(3))
	switch r.IntN(4) {
	case 0:
		p.write(t, dir+"/f", strconv.Itoa(r.IntN(3)))
	case 1:
		p.write(t, dir+"/f"+strconv.Itoa(r.IntN(2)), "x")
	case 2:
		must(t, os.Chmod(p.path(dir+"/f"), []os.FileMode{0o600, 0o644, 0o755}[r.IntN(3)]))
	case 3:
		_ = os.Remove(p.path(dir + "/f0"))
	}
}

// forget takes some entries out of a cache.
func forget(t *testing.T, r *rand.Rand, d *cache.Directory) {
	t.Helper()
	refs, err := d.Store.Refs()
	must(t, err)
	for _, ref := range refs {
		if r.IntN(4) == 0 {
			must(t, d.Store.DeleteRef(ref.Ref))
		}
	}
}

// TestCacheRandom makes random builds with what random other builds have left in a
// cache, and without: the images are the same.
func TestCacheRandom(t *testing.T) {
	builds := 25
	if testing.Short() {
		builds = 5
	}
	b := newBed(t)
	seed := uint64(0x5eed)
	if s := os.Getenv("STRAKE_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		seed = n
	}
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // to be repeated
	l := directory(t, t.TempDir())
	var docker string
	found := 0
	p := newPair(t, b, "")
	for i := range 3 {
		p.write(t, filepath.Join("dir"+strconv.Itoa(i), "f"), "f")
	}
	for i := range builds {
		if lines := strings.SplitAfter(docker, "\n"); docker == "" || r.IntN(3) == 0 {
			docker = dockerfile(r)
		} else if n := r.IntN(len(lines)); !strings.HasPrefix(lines[n], "FROM") { // another, without one of the lines
			docker = strings.Join(append(lines[:n:n], lines[n+1:]...), "")
		}
		change(t, r, p)
		forget(t, r, l)
		p.docker = docker
		with, steps := p.cached(t.Context(), t, p.build(t), l)
		for _, o := range steps {
			if o.Hit {
				found++
			}
		}
		res := p.run(t, p.build(t))
		if plain := digest(t, res.Artifact); plain != with {
			t.Fatalf("build %d of seed %d: with the cache %s, without %s\n%s\n%s %+v", i, seed, with, plain, docker, marks(steps), steps)
		}
	}
	t.Logf("%d steps were found", found)
	if found == 0 {
		t.Error("nothing was found in the cache")
	}
}
