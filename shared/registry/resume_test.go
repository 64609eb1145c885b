package registry_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// stream is a blob that cannot seek.
type stream struct{ blob }

func (s stream) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(bytes.NewReader(s.content))), nil
}

// file is a blob that can.
type file struct{ blob }

func (f file) Compressed() (io.ReadCloser, error) {
	return struct {
		*bytes.Reader
		io.Closer
	}{bytes.NewReader(f.content), io.NopCloser(nil)}, nil
}

func TestUploadGoesOn(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 8<<16) // 8 MiB
	const mib = 1 << 20
	for name, tt := range map[string]struct {
		faults  []registrytest.Fault
		patches int // requests that send a rest
		begun   int
		ok      bool
	}{
		"whole": {nil, 0, 1, true},
		"broken once": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Times: 1, Cut: true, CutAt: 3 * mib},
		}, 1, 1, true},
		"broken, and the rest broken more often than there are retries": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Times: 1, Cut: true, CutAt: 1 * mib},
			{Method: http.MethodPatch, Path: "/uploads/", Times: 5, Cut: true, CutAt: 1 * mib},
		}, 6, 1, true},
		"broken before the first byte": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Times: 1, Cut: true, CutAt: 0},
		}, 0, 2, true},
		"all came, the answer did not": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Times: 1, Lose: true},
		}, 0, 1, true},
		"the registry forgot": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Times: 1, Cut: true, CutAt: 3 * mib},
			{Method: http.MethodGet, Path: "/uploads/", Status: http.StatusNotFound},
		}, 0, 2, true},
		"the registry claims more than there is": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Times: 1, Cut: true, CutAt: 3 * mib},
			{Method: http.MethodGet, Path: "/uploads/", Status: http.StatusNoContent, Header: http.Header{"Range": {"0-99999999999"}}},
		}, 0, 2, true},
		"the registry is wrong about what it has": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Times: 1, Cut: true, CutAt: 3 * mib},
			{Method: http.MethodGet, Path: "/uploads/", Status: http.StatusNoContent, Header: http.Header{"Range": {"0-4194303"}}},
		}, 1, 2, true},
		"no rests": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Times: 1, Cut: true, CutAt: 3 * mib},
			{Method: http.MethodPatch, Path: "/uploads/", Status: http.StatusRequestedRangeNotSatisfiable},
		}, 1, 2, true},
		"never": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Cut: true, CutAt: 10},
			{Method: http.MethodPatch, Path: "/uploads/", Cut: true, CutAt: 10},
		}, 3, 1, false},
		"status at another host": {[]registrytest.Fault{
			{Method: http.MethodPut, Path: "/uploads/", Times: 1, Cut: true, CutAt: 3 * mib},
			{Method: http.MethodGet, Path: "/uploads/", Status: http.StatusNoContent, Header: http.Header{"Range": {"0-1048575"}, "Location": {"file:///x"}}},
		}, 0, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBlob(t, content)
			for _, l := range []v1.Layer{stream{b}, file{b}} {
				s := registrytest.New(t)
				for _, f := range tt.faults {
					s.Fail(f)
				}
				err := pusher(t, client(t, registry.Options{}), s.Ref("app:1")).Upload(t.Context(), l)
				begun := s.Count(http.MethodPost, "/uploads/")
				if patches := s.Count(http.MethodPatch, "/uploads/"); tt.ok != (err == nil) || patches != tt.patches || begun != tt.begun {
					t.Errorf("%v; %d rests sent, %d uploads begun", err, patches, begun)
				}
				if err != nil && (!errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), b.digest.String()) || !strings.Contains(err.Error(), s.Host)) {
					t.Error(err)
				}
				if got := s.Blob("app", b.digest); tt.ok && !bytes.Equal(got, content) || !tt.ok && got != nil {
					t.Errorf("the registry has %d bytes", len(got))
				}
			}
		})
	}
}
