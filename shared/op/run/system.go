package run

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/sandbox"
)

// systemMounts gives the step its /etc/hosts and /etc/resolv.conf, which never
// enter a layer, and the mount points that the view itself needs.
func (r *Runner) systemMounts(m *mounts, op *graph.Exec) error {
	dir, err := os.MkdirTemp(r.Workspace.Path(), "etc-")
	if err != nil {
		return fmt.Errorf("make the step's /etc files: %w", err)
	}
	m.cleanup = append(m.cleanup, func() error { return os.RemoveAll(dir) })
	for _, p := range r.Sandbox.View().MountPoints {
		name := strings.TrimPrefix(p.Path, "/")
		m.covered = append(m.covered, name)
		m.points = append(m.points, Point{Path: name, Dir: true})
	}
	files := map[string][]byte{"hosts": hostsFile(r.stepHost(op), op.ExtraHosts), "resolv.conf": r.Resolv}
	for _, name := range []string{"hosts", "resolv.conf"} {
		if underAny("etc/"+name, m.foreign) { // the container's own serves
			if name == "hosts" && len(op.ExtraHosts) > 0 {
				return &Unsupported{"--add-host", "the container's own /etc/hosts is mounted there, which is not changed; run the builder where --isolation=overlay works"}
			}
			continue
		}
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, files[name], 0o644); err != nil { //nolint:gosec // every user of the step may read it
			return fmt.Errorf("make the step's /etc/%s: %w", name, err)
		}
		s := source{file: true, mount: sandbox.Mount{Source: p, ReadOnly: true}}
		if err := m.add("/etc/"+name, s); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) stepHost(op *graph.Exec) string {
	if op.Hostname != "" {
		return op.Hostname
	}
	return r.hostname()
}

// hostsFile is /etc/hosts as BuildKit writes it.
func hostsFile(hostname string, extra []graph.Host) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "127.0.0.1\tlocalhost %s\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname)
	for _, h := range extra {
		fmt.Fprintf(&b, "%s\t%s\n", h.IP, h.Name)
	}
	return []byte(b.String())
}
