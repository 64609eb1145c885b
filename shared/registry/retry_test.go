package registry_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

func TestRetries(t *testing.T) {
	for name, f := range map[string]registrytest.Fault{
		"500":                {Status: 500},
		"408":                {Status: 408},
		"502":                {Status: 502, Body: "<html>"},
		"504":                {Status: 504},
		"429":                {Status: 429, Header: http.Header{"Retry-After": {"0"}}},
		"429 without a word": {Status: 429},
		"522":                {Status: 522},
		"no answer":          {Lose: true},
		"reset in a body":    {Reset: true, ResetAt: 10},
		"silence":            {Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			s.Push(t, "x:1", registrytest.Image(t, "linux/amd64"))
			f.Path, f.Times = "/manifests/", 2
			s.Fail(f)
			if _, err := client(t, registry.Options{}).Image(t.Context(), s.Ref("x:1"), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRetriesEnd(t *testing.T) {
	for retries, want := range map[int]int{-1: 1, 0: 1 + registry.DefaultRetries, 5: 6} {
		s := registrytest.New(t)
		s.Fail(registrytest.Fault{Path: "/manifests/", Status: 503})
		_, err := client(t, registry.Options{Retries: retries}).Image(t.Context(), s.Ref("x:1"), nil)
		if n := s.Count("", "/manifests/"); n != want || !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("%d retries: asked %d times, %v", retries, n, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		header string
		least  time.Duration
		asked  int
	}{
		"seconds":  {"1", 900 * time.Millisecond, 2},
		"date":     {time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat), 500 * time.Millisecond, 2},
		"too long": {"86400", 0, 1},
		"nonsense": {"soon", 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := registrytest.New(t)
			s.Push(t, "x:1", registrytest.Image(t, "linux/amd64"))
			s.Fail(registrytest.Fault{Path: "/manifests/", Times: 1, Status: 429, Header: http.Header{"Retry-After": {tt.header}}})
			begin := time.Now()
			_, err := client(t, registry.Options{}).Image(t.Context(), s.Ref("x:1"), nil)
			if d := time.Since(begin); d < tt.least || d > tt.least+5*time.Second {
				t.Errorf("it took %v", d)
			}
			if n := s.Count("", "/manifests/"); n != tt.asked || (err == nil) != (tt.asked == 2) {
				t.Errorf("asked %d times, %v", n, err)
			}
		})
	}
}
