package stepcache

import (
	"context"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/graph"
)

// TestExecKeys changes one field of a step, which must change its key, or must not.
func TestExecKeys(t *testing.T) {
	base := func() *graph.Vertex {
		return &graph.Vertex{
			ID: "v", Name: "RUN make", Platform: &ocispecs.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"},
			Op: &graph.Exec{
				Args: []string{"make"}, Env: []string{"A=1", "B=2"}, Cwd: "/", User: "me",
				Mounts: []graph.Mount{{Target: "/", Input: -1}, {Type: graph.MountSecret, Target: "/s", Input: -1, Output: -1, Secret: &graph.SecretMount{ID: "s", Mode: 0o400}}},
			},
		}
	}
	key := func(v *graph.Vertex) cache.Key {
		t.Helper()
		s := (&Cache{Seed: []Part{{"seed", "1"}}}).step(v)
		s.define(context.Background())
		if s.defErr != nil {
			t.Fatal(s.defErr)
		}
		return s.key
	}
	want := key(base())
	exec := func(change func(*graph.Exec)) func(*graph.Vertex) {
		return func(v *graph.Vertex) { change(v.Op.(*graph.Exec)) }
	}
	for name, c := range map[string]struct {
		change func(*graph.Vertex)
		same   bool
	}{
		"nothing":                {func(*graph.Vertex) {}, true},
		"ID of the frontend's":   {func(v *graph.Vertex) { v.ID = "w" }, true},
		"name":                   {func(v *graph.Vertex) { v.Name = "[2/3] RUN make" }, true},
		"position":               {func(v *graph.Vertex) { v.Positions = []graph.Position{{Start: 7}} }, true},
		"proxy":                  {exec(func(e *graph.Exec) { e.ProxyEnv = []string{"HTTP_PROXY=http://user:password@proxy"} }), true},
		"architecture":           {func(v *graph.Vertex) { v.Platform.Architecture = "amd64" }, false},
		"variant":                {func(v *graph.Vertex) { v.Platform.Variant = "v9" }, false},
		"system":                 {func(v *graph.Vertex) { v.Platform.OS = "windows" }, false},
		"arguments":              {exec(func(e *graph.Exec) { e.Args = []string{"make", ""} }), false},
		"order of variables":     {exec(func(e *graph.Exec) { e.Env = []string{"B=2", "A=1"} }), false},
		"value of a variable":    {exec(func(e *graph.Exec) { e.Env[0] = "A=2" }), false},
		"variables run together": {exec(func(e *graph.Exec) { e.Env = []string{"A=1B=2"} }), false},
		"directory":              {exec(func(e *graph.Exec) { e.Cwd = "/x" }), false},
		"user":                   {exec(func(e *graph.Exec) { e.User = "" }), false},
		"hostname":               {exec(func(e *graph.Exec) { e.Hostname = "h" }), false},
		"host":                   {exec(func(e *graph.Exec) { e.ExtraHosts = []graph.Host{{Name: "a", IP: "::1"}} }), false},
		"limit":                  {exec(func(e *graph.Exec) { e.Ulimits = []graph.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}} }), false},
		"network":                {exec(func(e *graph.Exec) { e.Network = graph.NetworkNone }), false},
		"secret in a variable":   {exec(func(e *graph.Exec) { e.SecretEnv = []graph.SecretEnv{{ID: "a", Name: "A"}} }), false},
		"exit codes":             {exec(func(e *graph.Exec) { e.ValidExitCodes = []int32{1} }), false},
		"secret's name":          {exec(func(e *graph.Exec) { e.Mounts[1].Secret.ID = "t" }), false},
		"secret's mode":          {exec(func(e *graph.Exec) { e.Mounts[1].Secret.Mode = 0o444 }), false},
		"secret's owner":         {exec(func(e *graph.Exec) { e.Mounts[1].Secret.UID = 1 }), false},
		"secret's place":         {exec(func(e *graph.Exec) { e.Mounts[1].Target = "/t" }), false},
		"one mount less":         {exec(func(e *graph.Exec) { e.Mounts = e.Mounts[:1] }), false},
	} {
		v := base()
		c.change(v)
		if got := key(v); (got == want) != c.same {
			t.Errorf("%s: the key is the same: %v, want %v", name, got == want, c.same)
		}
	}
}
