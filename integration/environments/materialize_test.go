package environments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMaterialize finds the image's files in the container's root after a build that was told to leave them there: one that
// carried out a step, and one that found all in the cache.
func TestMaterialize(t *testing.T) {
	officially(t, func(t *testing.T, env Environment) {
		c := bed.Shell(t, env)
		context := filepath.Join(c.dir, "context")
		dockerfile := "FROM busybox AS other\nRUN echo other >/etc/made\nFROM busybox\nCOPY Dockerfile /etc/copied\nRUN echo made >/etc/made\nCOPY --from=other /etc/made /etc/others\n"
		if err := writeFile(filepath.Join(context, "Dockerfile"), dockerfile, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(context, 0o777); err != nil {
			t.Fatal(err)
		}
		c.Mount(t, context, "/workspace", false)
		build := strings.Join(bed.Command(c, false, bed.Kit.NewRef("materialize"), "--materialize", "--cache", "--cache-repo", "oci:/workspace/cache"), " ")
		look := " && /busybox/cat /etc/made /etc/others && /busybox/test -s /etc/copied && "
		run, err := c.Run(t.Context(), []string{"/busybox/sh", "-c", build + look + build + look + "/busybox/echo end"})
		if err != nil || run.Code != 0 {
			t.Fatalf("%v: the script ended with %d:\n%s", err, run.Code, lastLines(run.Stderr, 60))
		}
		if n := strings.Count(run.Stdout, "made\nother\n"); n != 2 || !strings.HasSuffix(run.Stdout, "end\n") {
			t.Errorf("the container's root has not what the image has:\n%s", run.Stdout)
		}
	})
}
