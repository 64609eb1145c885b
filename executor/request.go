package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/build"
	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
)

// request makes the build's request of the flags, and says everything that is
// wrong with them at once.
func request(x *cli.Context) (build.Request, error) {
	p := &parser{x: x}
	req := build.Request{
		Dockerfile:      x.String("dockerfile"),
		Dir:             p.dir(),
		Isolation:       p.isolation(),
		Allow:           p.allow(),
		IgnorePaths:     x.StringSlice("ignore-path"),
		SingleSnapshot:  x.Bool("single-snapshot"),
		Reproducible:    x.Bool("reproducible"),
		Annotations:     p.annotations(),
		SnapshotTimeout: x.Duration("snapshot-timeout"),
		Locals:          make(map[string]string),
		Layouts:         make(map[string]string),
	}
	req.Frontend = p.frontend(req.Locals, req.Layouts)
	if first, others := p.targets(); first != "" {
		req.Frontend.Target, req.Also = first, others
	}
	p.sources(&req)
	req.Epoch = req.Frontend.SourceDateEpoch
	req.Format, req.Pack = p.format()
	var err error
	if req.Secrets, err = parseSecrets(x.StringSlice("secret")); err != nil {
		p.fail("%w", err)
	}
	if req.SSH, err = parseAgents(x.StringSlice("ssh")); err != nil {
		p.fail("%w", err)
	}
	if req.Pack.Compression == layer.Zstd && x.String("tar-path") != "" {
		p.fail("--compression zstd: docker load may not read it from --tar-path; use gzip, or --oci-layout-path")
	}
	p.steps()
	req.Attestations = p.attestations(req.Format)
	if len(req.Annotations.Index) > 0 && len(req.Frontend.Platforms) < 2 && !req.Attestations.Index {
		p.fail("--annotation index:KEY=VALUE: one platform makes no index; give several with --platform")
	}
	if len(p.errs) > 0 {
		return req, &shared.UsageError{Err: errors.Join(p.errs...)}
	}
	return req, nil
}

// parser collects what is wrong with the flags.
type parser struct {
	x    *cli.Context
	errs []error
}

func (p *parser) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

// dir is where the builder keeps its files.
func (p *parser) dir() string {
	if d := p.x.String("kaniko-dir"); d != "" {
		abs, err := filepath.Abs(d)
		if err != nil {
			p.fail("--kaniko-dir %s: %w", d, err)
		}
		return abs
	}
	const official = "/kaniko"
	if fi, err := os.Stat(official); err == nil && fi.IsDir() {
		return official
	}
	if d, err := os.UserCacheDir(); err == nil {
		return filepath.Join(d, "strake")
	}
	return filepath.Join(os.TempDir(), "strake-"+strconv.Itoa(os.Getuid()))
}

func (p *parser) allow() (e run.Entitlements) {
	for _, a := range p.x.StringSlice("allow") {
		for _, v := range strings.Split(a, ",") {
			switch v {
			case "network.host":
				e.NetworkHost = true
			case "security.insecure", "device":
				// Granted or not, a step that asks for it is refused at its line.
			default:
				p.fail("--allow %s: not known; network.host can be granted", v)
			}
		}
	}
	return e
}

// pairs reads KEY=VALUE flags.
func (p *parser) pairs(flag string) map[string]string {
	m := make(map[string]string)
	for _, s := range p.x.StringSlice(flag) {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			p.fail("--%s %s: want KEY=VALUE", flag, s)
			continue
		}
		m[k] = v
	}
	return m
}

// buildArgs reads --build-arg: a name alone takes its value from the environment.
// Proxies that docker is configured with are arguments, too.
func (p *parser) buildArgs() map[string]string {
	m := make(map[string]string)
	for _, s := range p.x.StringSlice("build-arg") {
		k, v, ok := strings.Cut(s, "=")
		if k == "" {
			p.fail("--build-arg %s: want NAME=VALUE or NAME", s)
			continue
		}
		if !ok {
			if v, ok = os.LookupEnv(k); !ok {
				continue
			}
		}
		m[k] = v
	}
	for k, v := range proxies(os.Environ()) {
		if _, given := m[k]; !given {
			m[k] = v
		}
	}
	return m
}

// epoch is SOURCE_DATE_EPOCH of the environment; one given as a build argument
// is the frontend's to read.
func (p *parser) epoch(args map[string]string) *time.Time {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if _, ok := args["SOURCE_DATE_EPOCH"]; ok || s == "" {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		p.fail("SOURCE_DATE_EPOCH=%s: not a number of seconds", s)
		return nil
	}
	t := time.Unix(n, 0).UTC()
	return &t
}

func (p *parser) frontend(locals, layouts map[string]string) frontend.Request {
	x := p.x
	r := frontend.Request{
		BuildArgs: p.buildArgs(), Labels: p.pairs("label"),
		Platforms: p.platforms(), NoCache: x.Bool("no-cache"), Contexts: make(map[string]string),
		AddHosts: x.StringSlice("add-host"), Ulimits: x.StringSlice("ulimit"),
		Network: x.String("network"), Hostname: x.String("hostname"), Opts: p.pairs("opt"),
	}
	if s := x.String("shm-size"); s != "" {
		n, err := units.RAMInBytes(s)
		if err != nil {
			p.fail("--shm-size %s: %w", s, err)
		}
		r.ShmSize = n
	}
	r.SourceDateEpoch = p.epoch(r.BuildArgs)
	optFields(&r)
	named := p.pairs("build-context")
	for _, name := range slices.Sorted(maps.Keys(named)) {
		r.Contexts[name] = p.namedContext(name, named[name], locals, layouts)
	}
	return r
}

// optFields moves what has a flag of its own out of the other options.
func optFields(r *frontend.Request) {
	for key, field := range map[string]*string{
		"hostname": &r.Hostname, "force-network-mode": &r.Network, "cgroup-parent": &r.CgroupParent, "target": &r.Target,
	} {
		if v, ok := r.Opts[key]; ok {
			*field = v
			delete(r.Opts, key)
		}
	}
	for key, field := range map[string]*[]string{"add-hosts": &r.AddHosts, "ulimit": &r.Ulimits} {
		if v, ok := r.Opts[key]; ok {
			*field = append(*field, strings.Split(v, ",")...)
			delete(r.Opts, key)
		}
	}
}

func (p *parser) platforms() (out []ocispecs.Platform) {
	for _, s := range p.x.StringSlice("platform") {
		for _, v := range strings.Split(s, ",") {
			pl, err := platforms.Parse(strings.TrimSpace(v))
			if err != nil {
				p.fail("--platform %s: %w", v, err)
				continue
			}
			out = append(out, platforms.Normalize(pl))
		}
	}
	return out
}

// annotations reads --annotation: of the manifest unless it says otherwise.
func (p *parser) annotations() build.Annotations {
	a := build.Annotations{Manifest: map[string]string{}, Index: map[string]string{}}
	for k, v := range p.pairs("annotation") {
		level, key, ok := strings.Cut(k, ":")
		switch {
		case !ok || strings.Contains(level, "."):
			a.Manifest[k] = v
		case level == "manifest":
			a.Manifest[key] = v
		case level == "index":
			a.Index[key] = v
		default:
			p.fail("--annotation %s: the level %s is not known; manifest and index are", k, level)
		}
	}
	return a
}

// format reads how layers and manifests are written.
func (p *parser) format() (image.Format, layer.PackOptions) {
	f := image.OCI
	switch s := p.x.String("image-format"); s {
	case "", "oci":
	case "docker":
		f = image.Docker
	default:
		p.fail("--image-format %s: not one of oci, docker", s)
	}
	o := layer.PackOptions{Docker: f == image.Docker}
	var err error
	if o.Compression, err = layer.ParseCompression(p.x.String("compression")); err != nil {
		p.fail("--%w", err)
	}
	o.Level = p.level(o.Compression)
	if o.Compression == layer.Zstd && f == image.Docker {
		p.fail("--compression zstd: Docker's media types have none for it; use --image-format oci")
	}
	return f, o
}

// targets are the stages to build: of the first comes the image, the others are
// built besides.
func (p *parser) targets() (first string, others []string) {
	var all []string
	for _, t := range p.x.StringSlice("target") {
		all = append(all, strings.Split(t, ",")...)
	}
	all = slices.DeleteFunc(all, func(t string) bool { return t == "" })
	if len(all) == 0 {
		return "", nil
	}
	return all[0], all[1:]
}
