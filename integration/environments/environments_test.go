package environments

import (
	"slices"
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/imagetree"
)

// root is one way a container can come by its root.
type root struct {
	name    string
	foreign bool
	want    Expectation
}

// everywhere keeps every environment.
func everywhere(Environment, root) bool { return true }

// each runs a test in those environments that keep wants, with either root.
func each(t *testing.T, keep func(Environment, root) bool, test func(t *testing.T, env Environment, r root)) {
	t.Helper()
	for _, env := range All() {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), env.Name) {
			continue
		}
		for _, r := range []root{{"official", false, env.Official}, {"foreign", true, env.Foreign}} {
			if r.want.Not || !keep(env, r) {
				continue
			}
			t.Run(env.Name+"/"+r.name, func(t *testing.T) { test(t, env, r) })
		}
	}
}

// flags are what the Dockerfiles of testdata ask for.
func flags(t *testing.T, c *Container) []string {
	t.Helper()
	secret := c.secret(t)
	return []string{
		"--reproducible", "--secret", "id=token,src=" + secret, "--secret", "id=named,env=NAMED", "--ssh", "default=" + Agent(t, c),
	}
}

// TestRun builds what is particular about users, modes, capabilities and mounts, in the view and with the identity that
// the table promises, and wants the same digest as a privileged container has.
func TestRun(t *testing.T) {
	reference := referenceOf(t, "quick")
	each(t, everywhere, func(t *testing.T, env Environment, r root) {
		c := bed.Container(t, env, r.foreign)
		Context(t, c, "testdata/quick")
		got := bed.Build(t, c, r.foreign, flags(t, c)...)
		if r.want.Refused() {
			wantRefusal(t, got)
			return
		}
		if got.Code != 0 {
			t.Fatalf("the executor ended with %d:\n%s", got.Code, lastLines(got.Stderr, 60))
		}
		if got.View != r.want.View || got.Identity != r.want.Identity {
			t.Errorf("RUN works by %s with identity %s; %s with %s is promised", got.View, got.Identity, r.want.View, r.want.Identity)
		}
		sameImage(t, reference, got)
		if !r.foreign || env.Official.Not {
			measured(t, env.Name, "quick", got.CPU)
		}
	})
}

// wantRefusal checks that the executor says what is wrong and what would help, before it has done anything.
func wantRefusal(t *testing.T, got Build) {
	t.Helper()
	if got.Code != 78 {
		t.Errorf("the executor ended with %d; 78 says that it cannot work here:\n%s", got.Code, lastLines(got.Stderr, 40))
	}
}

// referenceOf builds in a privileged container, which is what all others must equal.
func referenceOf(t *testing.T, name string) Build {
	t.Helper()
	env := Named("E6")
	c := bed.Container(t, env, true)
	Context(t, c, "testdata/"+name)
	got := bed.Build(t, c, true, append(bed.Downloads.Args(), flags(t, c)...)...)
	if got.Code != 0 {
		t.Fatalf("the reference could not be built: the executor ended with %d:\n%s", got.Code, lastLines(got.Stderr, 60))
	}
	measured(t, "", name, got.CPU)
	return got
}

// sameImage wants one digest, and says where the images differ if it is not one.
func sameImage(t *testing.T, a, b Build) {
	t.Helper()
	left, right := a.Pull(t), b.Pull(t)
	one, err := left.Digest()
	if err != nil {
		t.Fatal(err)
	}
	other, err := right.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if one == other {
		return
	}
	opts := imagetree.Options{MTimes: []string{"/"}, Created: true, Media: true}
	before, err := imagetree.Describe(left, opts)
	if err != nil {
		t.Fatal(err)
	}
	after, err := imagetree.Describe(right, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Errorf("digest %s in a privileged container, %s here:\n%s", one, other, strings.Join(imagetree.Diff(before, after), "\n"))
}

// TestWithoutRun builds a Dockerfile that runs nothing, as anybody, anywhere.
func TestWithoutRun(t *testing.T) {
	each(t, everywhere, func(t *testing.T, env Environment, r root) {
		c := bed.Container(t, env, r.foreign)
		dir := Context(t, c, "testdata/quick")
		dockerfile := "FROM busybox AS s\nCOPY --chown=1:2 files /f\nFROM toolbox\nCOPY --from=s /f /f\nWORKDIR /x\nADD files/a /x/\n"
		if err := writeFile(dir+"/Dockerfile", dockerfile, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := bed.Build(t, c, r.foreign); got.Code != 0 {
			t.Errorf("the executor ended with %d:\n%s", got.Code, lastLines(got.Stderr, 40))
		}
	})
}

// TestTable checks that the reference image is what the Dockerfile says, since all others are compared with it.
func TestTable(t *testing.T) {
	tree, err := imagetree.Flatten(referenceOf(t, "quick").Pull(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]imagetree.Node{
		"home/app/mine":         {Mode: 0o4711, UID: 1234, GID: 1234},
		"home/app/work/done":    {Mode: 0o640, UID: 1234, GID: 1234},
		"usr/local/bin/setuid":  {Mode: 0o4755},
		"usr/local/bin/setgid":  {Mode: 0o2755, UID: 1234, GID: 77},
		"srv/shared":            {Mode: 0o3770, UID: 1234, GID: 77},
		"opt/g":                 {Mode: 0o644, UID: 4242, GID: 4343},
		"work/a":                {Mode: 0o644, UID: 7, GID: 8},
		"work":                  {Mode: 0o755}, // COPY copies what is in a directory, not the directory
		"app/a":                 {Mode: 0o640, UID: 1234, GID: 77},
		"opt/from-mount":        {Mode: 0o644},
		"usr/share/debconf/new": {Mode: 0o644},
		"usr/local/bin/net":     {Mode: 0o755},
	} {
		got := tree[name]
		if got == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if got.Mode != want.Mode || got.UID != want.UID || got.GID != want.GID {
			t.Errorf("%s is %04o %d:%d; want %04o %d:%d", name, got.Mode, got.UID, got.GID, want.Mode, want.UID, want.GID)
		}
	}
	if tree["usr/local/bin/net"] != nil && tree["usr/local/bin/net"].Xattrs["security.capability"] == "" {
		t.Error("usr/local/bin/net has no capabilities")
	}
	for _, name := range []string{
		"run/secrets", "etc/app.key", "mnt/scratch", "mnt/ctx", "mnt/tools", "var/cache/app/x", "etc/issue", "usr/games", "usr/share/debconf/frontend",
	} {
		if tree[name] != nil {
			t.Errorf("%s is in the image", name)
		}
	}
}
