package environments

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/imagetree"
)

// stands tells whether an environment stands for a view: chroot or in place as root, overlay, what a pod of the restricted
// standard gets, a user namespace of one id. With -full all do.
func stands(env Environment) bool {
	return *full || slices.Contains([]string{"E1", "E2", "E4", "E5"}, env.Name)
}

// TestForeignRootIsUntouched looks at a whole container before and after a build in it.
func TestForeignRootIsUntouched(t *testing.T) {
	guest := func(env Environment, r root) bool { return r.foreign && stands(env) }
	each(t, guest, func(t *testing.T, env Environment, r root) {
		c := bed.Container(t, env, true)
		Context(t, c, "testdata/quick")
		args := flags(t, c)
		// The runtime makes its mount points when a container starts.
		if run, err := c.Run(t.Context(), []string{"/bin/true"}); err != nil || run.Code != 0 {
			t.Fatalf("the container does not start: %v, %+v", err, run)
		}
		before := fingerprintOf(t, c.root())
		got := bed.Build(t, c, true, args...)
		if refused := r.want.Refused(); refused == (got.Code == 0) {
			t.Fatalf("the executor ended with %d:\n%s", got.Code, lastLines(got.Stderr, 40))
		}
		if diff := Changes(before, fingerprintOf(t, c.root())); len(diff) > 0 {
			t.Errorf("the container is not what it was:\n%s", strings.Join(diff, "\n"))
		}
	})
}

func fingerprintOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := Fingerprint(dir)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// officially runs a test with the official image in environments that stand for a view.
func officially(t *testing.T, test func(t *testing.T, env Environment)) {
	t.Helper()
	keep := func(env Environment, r root) bool { return !r.foreign && !r.want.Refused() && stands(env) }
	each(t, keep, func(t *testing.T, env Environment, _ root) { test(t, env) })
}

// belowLink reads and writes through /lib, for which the base image has a symlink and the pod a mount below.
const belowLink = `USER 0
RUN cat /lib/os-release >/dev/null && echo made > /lib/made
RUN test "$(cat /usr/lib/made)" = made && test "$(cat /lib/made)" = made
`

// TestMountsAreLeftAlone mounts a context, a secret, volumes and a driver's library, one of them below a name that the base
// image has a symlink for, and looks at them and at the image afterwards.
func TestMountsAreLeftAlone(t *testing.T) {
	// In E4c the mount is in the directory that stages are put into, which needs the most care.
	keep := func(env Environment, r root) bool {
		return !r.foreign && !r.want.Refused() && (stands(env) || env.Name == "E4c")
	}
	each(t, keep, func(t *testing.T, env Environment, _ root) {
		c := bed.Container(t, env, false)
		context := Context(t, c, "testdata/quick")
		dockerfile := filepath.Join(context, "Dockerfile")
		quick, err := os.ReadFile(dockerfile)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dockerfile, append(quick, belowLink...), 0o644); err != nil {
			t.Fatal(err)
		}
		args := flags(t, c)
		volumes := filepath.Join(c.dir, "volumes")
		for name, at := range map[string]string{
			"data": "/data", "below": "/usr/share/data", "link": "/lib/x86_64-linux-gnu/driver", "cache": "/cache",
		} {
			if err := writeFile(filepath.Join(volumes, name, "sub", "file"), name+"\n", 0o640); err != nil {
				t.Fatal(err)
			}
			c.Mount(t, filepath.Join(volumes, name), at, false)
		}
		library := filepath.Join(c.dir, "library")
		if err := writeFile(filepath.Join(library, "driver.so.1"), "a driver\n", 0o755); err != nil {
			t.Fatal(err)
		}
		c.Mount(t, filepath.Join(library, "driver.so.1"), "/usr/lib/x86_64-linux-gnu/driver.so.1", true)
		mounted := []string{context, volumes, library, filepath.Join(c.dir, "secret"), filepath.Join(c.dir, "pod", "token")}
		var before []map[string]string
		for _, m := range mounted {
			before = append(before, fingerprintOf(t, m))
		}
		got := bed.Build(t, c, false, args...)
		if got.Code != 0 {
			t.Fatalf("the executor ended with %d:\n%s", got.Code, lastLines(got.Stderr, 60))
		}
		for i, m := range mounted {
			if diff := Changes(before[i], fingerprintOf(t, m)); len(diff) > 0 {
				t.Errorf("%s is not what it was:\n%s", filepath.Base(m), strings.Join(diff, "\n"))
			}
		}
		tree, err := imagetree.Flatten(got.Pull(t))
		if err != nil {
			t.Fatal(err)
		}
		if tree["usr/lib/made"] == nil || tree["lib/made"] != nil {
			t.Errorf("what a step wrote below a symlink is not where the image has it: %v, %v", tree["usr/lib/made"], tree["lib/made"])
		}
		for name := range tree {
			for _, no := range []string{"data", "usr/share/data", "driver", "cache", "run/secrets", "secret", "builder", "kaniko", "workspace"} {
				if name == no || strings.Contains(name, "x86_64-linux-gnu/driver") {
					t.Errorf("%s is in the image", name)
				}
			}
		}
	})
}

// small is a build that fills the root, runs, and is the same every time.
const small = `FROM toolbox AS a
RUN mkdir /srv/made && echo 1 > /srv/made/one && chown 5:6 /srv/made/one
FROM busybox AS b
COPY --from=a /srv/made /srv/made
RUN echo 2 > /srv/made/two && rm /srv/made/one
FROM a
COPY --from=b /srv/made/two /srv/made/
RUN i=0; while [ $i -lt 300 ]; do i=$((i+1)); mkdir /srv/made/d$i; echo $i > /srv/made/d$i/f; done; rm -r /usr/share/debconf
`

// script is a container with a shell, a context of one Dockerfile, and the names for its builds.
func scripted(t *testing.T, env Environment) (*Container, func(ref string) string) {
	t.Helper()
	return scriptedIn(t, bed.Shell(t, env), false)
}

func scriptedIn(t *testing.T, c *Container, foreign bool) (*Container, func(ref string) string) {
	t.Helper()
	dir := Context(t, c, "testdata/quick")
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(small), 0o644); err != nil {
		t.Fatal(err)
	}
	return c, func(ref string) string {
		return strings.Join(bed.Command(c, foreign, ref, "--reproducible"), " ")
	}
}

// TestTwiceInOneContainer builds one after the other in place; where each step has a root of its own, at once.
func TestTwiceInOneContainer(t *testing.T) {
	keep := func(env Environment, r root) bool {
		return stands(env) && !r.want.Refused() && (!r.foreign || r.want.View == "chroot")
	}
	each(t, keep, func(t *testing.T, env Environment, r root) {
		container, shell := bed.Shell, "/busybox/sh"
		if r.foreign {
			container, shell = func(t *testing.T, env Environment) *Container { return bed.Container(t, env, true) }, "/bin/sh"
		}
		c, command := scriptedIn(t, container(t, env), r.foreign)
		one, two := bed.Kit.NewRef("twice"), bed.Kit.NewRef("twice")
		script := command(one) + " && " + command(two)
		if r.want.View != "inplace" {
			script = command(one) + " & a=$!; " + command(two) + " & b=$!; wait $a && wait $b"
		}
		run, err := c.Run(t.Context(), []string{shell, "-c", script})
		if err != nil || run.Code != 0 {
			t.Fatalf("%v: the script ended with %d:\n%s", err, run.Code, lastLines(run.Stderr, 60))
		}
		sameImage(t, Build{Ref: one}, Build{Ref: two})
	})
}

// TestKilledAtAnyMoment kills a build as nothing can prepare for, a few times, and builds then.
func TestKilledAtAnyMoment(t *testing.T) {
	officially(t, func(t *testing.T, env Environment) {
		c, command := scripted(t, env)
		clean := bed.Kit.NewRef("killed")
		var script strings.Builder
		fmt.Fprintf(&script, "start=$(date +%%s); %s || exit 1; took=$(( $(date +%%s) - start + 1 ))\n", command(clean))
		var refs []string
		for range 3 {
			ref := bed.Kit.NewRef("killed")
			refs = append(refs, ref)
			// Somewhere in what the first build took, in percent; usleep of busybox takes microseconds.
			fmt.Fprintf(&script, "%s & p=$!; usleep $(( took * 10000 * %d )); kill -9 $p; wait $p; echo \"killed: $?\"\n", command(""), 5+rand.IntN(90))
			fmt.Fprintf(&script, "%s || exit 2\n", command(ref))
		}
		run, err := c.Run(t.Context(), []string{"/busybox/sh", "-c", script.String()})
		if err != nil || run.Code != 0 {
			t.Fatalf("%v: the script ended with %d:\n%s\n%s", err, run.Code, run.Stdout, lastLines(run.Stderr, 60))
		}
		if !strings.Contains(run.Stdout, "killed: 137") {
			t.Errorf("no build was killed:\n%s", run.Stdout)
		}
		for _, ref := range refs {
			sameImage(t, Build{Ref: clean}, Build{Ref: ref})
		}
	})
}
