package build_test

import (
	"fmt"
	"sync"
	"testing"
)

// TestSeveralBuilds runs builds side by side in one process: the trials by which
// each chooses its isolation, and its steps, leave those of the others alone.
func TestSeveralBuilds(t *testing.T) {
	b := newBed(t)
	var all sync.WaitGroup
	for i := range 8 {
		req := b.request(t, fmt.Sprintf("FROM %%s\nRUN sleep 0.1; echo %[1]d >/a\nRUN (sleep 1000 &); echo %[1]d >/b\nRUN sleep 0.1; echo %[1]d >/c\n", i))
		req.Isolation.View = []string{"auto", "chroot"}[i%2]
		builder := b.builder(t)
		all.Go(func() {
			res, err := builder.Run(t.Context(), req)
			if err != nil {
				t.Errorf("build %d: %v", i, err)
				return
			}
			defer func() {
				if err := res.Close(); err != nil {
					t.Error(err)
				}
			}()
			layers, err := res.Images[0].Layers()
			if err != nil {
				t.Error(err)
				return
			}
			for n, name := range []string{"a", "b", "c"} {
				if got := files(t, layers[1+n])[name]; got != fmt.Sprintln(i) {
					t.Errorf("build %d: /%s is %q", i, name, got)
				}
			}
		})
	}
	all.Wait()
}
