package environments

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/imagetree"
)

// heavy are the environments that build big Dockerfiles with -big: real root in place, the restricted pod, and a
// user namespace of one id.
func heavy() []string { return []string{"E1", "E4", "E5"} }

// varying are files of which two builds by the same builder have different ones, and why.
func varying() map[*regexp.Regexp]string {
	list := map[*regexp.Regexp]string{}
	for pattern, why := range map[string]string{
		`^var/log/`:                    "logs tell the time",
		`^var/lib/postgresql/15/main/`: "a database cluster has a number of its own, and the times at which it was made",
		`^etc/ssl/(private|certs)/(ssl-cert-snakeoil|[0-9a-f]{8}\.)`: "a key is made at installation",
		`^etc/ssh/ssh_host_`:                            "keys are made at installation",
		`^etc/ssl/certs/java/cacerts$`:                  "a key store is sealed with random salt and holds times",
		`^etc/(shadow|passwd|group|gshadow)-?$`:         "the day of a password's last change; compared line by line elsewhere",
		`^var/cache/(ldconfig|man|debconf|fontconfig)/`: "caches with times, inode numbers and times of other files in them",
		`^var/lib/(dpkg|apt)/`:                          "the order of what happened at once",
		`^etc/(ld\.so\.cache|machine-id)$`:              "made anew",
		`^usr/lib/jvm/.*/classes\.jsa$`:                 "an archive of a Java machine's memory",
		`^home/app/repo/`:                               "an index with times and inode numbers",
	} {
		list[regexp.MustCompile(pattern)] = why
	}
	return list
}

// steady is an image's tree, each name with its type, mode, owner, capabilities and content; of what varies, all but the
// content and the size.
func steady(t *testing.T, b Build) []string {
	t.Helper()
	tree, err := imagetree.Flatten(b.Pull(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, node := range tree {
		for pattern := range varying() {
			if pattern.MatchString(name) {
				n := *node
				n.Hash, n.Size = "", 0
				tree[name] = &n
			}
		}
	}
	// Directories' sizes and times of the run are none of an image's business.
	return tree.Describe(imagetree.Options{})
}

// big are the Dockerfiles that take their time. The trees of the first need not be equal to the byte.
var big = []struct {
	name  string
	exact bool
}{{"apt", false}, {"npm", false}, {"golang", true}}

// TestBig builds with packages of Debian, npm and Go: in the environments of heavy with -big, in every one with -full.
func TestBig(t *testing.T) {
	if !*full && !*heavily {
		t.Skip("takes a quarter of an hour; -big or -full builds them")
	}
	for _, b := range big {
		if !*full && b.name == "npm" {
			continue // what is particular about it, its many files, apt has as well; its base takes long to make
		}
		t.Run(b.name, func(t *testing.T) {
			reference := referenceOf(t, b.name)
			var want []string
			if !b.exact {
				want = steady(t, reference)
			}
			keep := func(env Environment, r root) bool {
				if r.want.Refused() || r.want.View == "chroot" && b.name == "apt" {
					return false // no package that asks for /proc installs in a chroot
				}
				// A guest in another image is the same views once more, but where there is no other.
				return (!r.foreign || env.Official.Not) && (*full || slices.Contains(heavy(), env.Name))
			}
			each(t, keep, func(t *testing.T, env Environment, r root) {
				c := bed.Container(t, env, r.foreign)
				Context(t, c, "testdata/"+b.name)
				got := bed.Build(t, c, r.foreign, append(bed.Downloads.Args(), flags(t, c)...)...)
				if got.Code != 0 {
					t.Fatalf("the executor ended with %d:\n%s", got.Code, lastLines(got.Stderr, 60))
				}
				measured(t, env.Name, b.name, got.CPU)
				t.Logf("%.0f s, of the processor %.0f; in a privileged container %.0f and %.0f",
					got.Wall.Seconds(), got.CPU.Seconds(), reference.Wall.Seconds(), reference.CPU.Seconds())
				if b.exact {
					sameImage(t, reference, got)
					return
				}
				if diff := imagetree.Diff(want, steady(t, got)); len(diff) > 0 {
					t.Errorf("the trees differ:\n%s", strings.Join(diff, "\n"))
				}
			})
		})
	}
}
