package registry_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// TestUploadToTwoRepositoriesAtOnce sends a layer once: the second repository has
// it mounted from the first.
func TestUploadToTwoRepositoriesAtOnce(t *testing.T) {
	s := registrytest.New(t)
	s.Fail(registrytest.Fault{Method: "PUT", Delay: 100 * time.Millisecond})
	c, err := registry.New(registry.Options{Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	l := static.NewLayer([]byte("layer"), types.OCILayer)
	var wg sync.WaitGroup
	for _, repo := range []string{"app", "app/cache", "other"} {
		wg.Go(func() {
			p, err := c.Pusher(s.Ref(repo))
			if err == nil {
				err = p.Upload(t.Context(), l)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sent := 0
	for _, r := range s.Requests() {
		if r.Method == "PUT" {
			sent++
		}
	}
	if sent != 1 {
		t.Errorf("the layer was sent %d times", sent)
	}
}
