package frontend

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerui"
)

// verbatim are the options of BuildKit's frontend that Request has no field
// for and that mean something to us.
func verbatim() []string {
	return []string{
		"contextkey", "contextsubdir", "dockerfilekey", "image-resolve-mode", "multi-platform",
		"memory", "memswap", "cpushares", "cpuperiod", "cpuquota", "cpusetcpus", "cpusetmems",
	}
}

// ErrOption marks an option of a Request that means nothing to the frontend.
var ErrOption = errors.New("frontend option")

// options writes the request as the options that BuildKit's frontend reads.
func (r *Request) options() (map[string]string, error) {
	o := make(map[string]string)
	prefixed(o, "build-arg:", r.BuildArgs)
	prefixed(o, "label:", r.Labels)
	prefixed(o, "context:", r.Contexts)
	set(o, "filename", r.Filename)
	set(o, "target", r.Target)
	set(o, "context", r.MainContext)
	set(o, "hostname", r.Hostname)
	set(o, "cgroup-parent", r.CgroupParent)
	set(o, "platform", r.platforms())
	if r.Network != "default" {
		set(o, "force-network-mode", r.Network)
	}
	if r.ShmSize > 0 {
		o["shm-size"] = strconv.FormatInt(r.ShmSize, 10)
	}
	switch {
	case r.NoCache:
		o["no-cache"] = "" // BuildKit's word for all stages
	case len(r.NoCacheFilter) > 0:
		o["no-cache"] = strings.Join(r.NoCacheFilter, ",")
	}
	if _, ok := r.BuildArgs["SOURCE_DATE_EPOCH"]; !ok && r.SourceDateEpoch != nil {
		o["build-arg:SOURCE_DATE_EPOCH"] = strconv.FormatInt(r.SourceDateEpoch.Unix(), 10)
	}
	if err := r.lists(o); err != nil {
		return nil, err
	}
	return o, r.checkOptions(o)
}

func (r *Request) checkOptions(o map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(r.Opts)) {
		if !slices.Contains(verbatim(), k) {
			return fmt.Errorf("%w %s: not known", ErrOption, k)
		}
		o[k] = r.Opts[k]
	}
	if r.MainContext == "" {
		return nil
	}
	// BuildKit takes anything else for a local source, without a word.
	_, isGit, err := dockerui.DetectGitContext(r.MainContext, nil)
	if _, _, isHTTP := dockerui.DetectHTTPContext(r.MainContext); isGit || isHTTP {
		if isGit && err != nil {
			return fmt.Errorf("context %s: %w", r.MainContext, err)
		}
		return nil
	}
	return fmt.Errorf("context %s: neither a git nor an http URL", r.MainContext)
}

func (r *Request) platforms() string {
	names := make([]string, len(r.Platforms))
	for i, p := range r.Platforms {
		names[i] = platforms.FormatAll(platforms.Normalize(p))
	}
	return strings.Join(names, ",")
}

// lists writes the options that BuildKit reads as a line of CSV.
func (r *Request) lists(o map[string]string) error {
	hosts := make([]string, len(r.AddHosts))
	for i, h := range r.AddHosts {
		// The older form is name:ip, where ip may be an IPv6 address in brackets.
		name, ip, ok := strings.Cut(h, "=")
		if !ok {
			name, ip, _ = strings.Cut(h, ":")
		}
		hosts[i] = name + "=" + strings.Trim(ip, "[]")
	}
	for key, list := range map[string][]string{"add-hosts": hosts, "ulimit": r.Ulimits} {
		if len(list) == 0 {
			continue
		}
		var b strings.Builder
		w := csv.NewWriter(&b)
		if err := w.Write(list); err != nil {
			return fmt.Errorf("option %s: %w", key, err)
		}
		w.Flush()
		o[key] = strings.TrimSuffix(b.String(), "\n")
	}
	return nil
}

func set(o map[string]string, key, value string) {
	if value != "" {
		o[key] = value
	}
}

func prefixed(o map[string]string, prefix string, m map[string]string) {
	for k, v := range m {
		o[prefix+k] = v
	}
}
