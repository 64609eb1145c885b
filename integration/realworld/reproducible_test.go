package realworld

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/integration/imagetree"
	"github.com/strake-build/strake/integration/testkit"
)

// reproducible is a build whose steps write the same bytes each time, in every way that a layer can be written.
var reproducible = map[string]string{
	"Dockerfile": `FROM debian:bookworm-slim AS tools
RUN mkdir -p /t/a/b && echo 1 > /t/a/b/f && ln /t/a/b/f /t/hard && ln -s a /t/link && mkfifo /t/pipe
FROM debian:bookworm-slim
COPY --from=tools /t /t
COPY . /src
RUN useradd -m app && rm -rf /var/log/* /etc/*- && sed -i 's/^\(app:[^:]*\):[0-9]*:/\1:1:/' /etc/shadow
RUN rm -r /usr/share/debconf && mkdir /usr/share/debconf && touch /usr/share/debconf/new
USER app
WORKDIR /home/app/x
RUN echo done > done && chmod 640 done
`,
	"a/f": "f\n",
	"b":   "b\n",
}

func digests(t *testing.T, args ...string) (digest string, layers []string) {
	t.Helper()
	dir := testkit.Files(t, reproducible)
	b := testkit.Build{Context: dir, State: filepath.Join(t.TempDir(), "state"), Args: append([]string{"--reproducible"}, args...)}
	img := kit.MustBuild(t, b)
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := imagetree.Describe(img, imagetree.Options{MTimes: []string{"/"}, Created: true, Media: true})
	if err != nil {
		t.Fatal(err)
	}
	return d.String(), lines
}

// TestSameDigestTwice builds the same input at two times, in two directories, with two states.
func TestSameDigestTwice(t *testing.T) {
	first, before := digests(t)
	time.Sleep(1100 * time.Millisecond) // so that no time of a file can be equal by luck
	second, after := digests(t)
	if first != second {
		t.Errorf("digest %s the first time, %s the second\n%s", first, second, strings.Join(imagetree.Diff(before, after), "\n"))
	}
}

// TestSameDigestUnderBothViews builds with an overlay and in a plain directory.
func TestSameDigestUnderBothViews(t *testing.T) {
	overlay, a := digests(t, "--isolation", "overlay")
	chroot, b := digests(t, "--isolation", "chroot")
	if overlay != chroot {
		t.Errorf("digest %s with overlay, %s with chroot\n%s", overlay, chroot, strings.Join(imagetree.Diff(a, b), "\n"))
	}
}
