// Command bench measures strake, BuildKit and buildah side by side, and prints a table of ratios.
//
//	bench [-runs N] [-only name,name] [-builders strake,buildkit,buildah] [-dir DIR] [-executor PATH]
//
// Builders take turns within a run, every build starts cold, and every image is pushed to a registry on the loopback
// interface. A cell is the median of the runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/strake-build/strake/integration/bases"
	"github.com/strake-build/strake/integration/loopback"
	"github.com/strake-build/strake/integration/testkit"
)

type options struct {
	runs     int
	only     string
	builders string
	dir      string
	executor string
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 3, "how often each build is measured")
	flag.StringVar(&o.only, "only", "", "these workloads, by comma")
	flag.StringVar(&o.builders, "builders", "strake,buildkit,buildah", "these builders, by comma")
	flag.StringVar(&o.dir, "dir", "", "where builders keep their state: a journaled disk (default: a temporary directory)")
	flag.StringVar(&o.executor, "executor", "", "a finished executor (default: one built from the source)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "strake-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, meter, srv, err := startRegistry(ctx, dir, o)
	if err != nil {
		return err
	}
	defer srv.Close()
	builders, err := startBuilders(ctx, o, dir, srv.Addr)
	if err != nil {
		return err
	}
	defer func() {
		for _, b := range builders {
			err = errors.Join(err, b.close())
		}
	}()
	results, err := measureAll(ctx, o, &bench{dir: dir, store: store, meter: meter, registry: srv.Addr, builders: builders})
	report(os.Stdout, results, builders, o.runs)
	return err
}

func startRegistry(ctx context.Context, dir string, o options) (*loopback.Store, *loopback.Meter, *loopback.Server, error) {
	basesDir, err := bases.DefaultDir()
	if err != nil {
		return nil, nil, nil, err
	}
	var names []string // of the bases that are wanted; all, if empty
	if o.only != "" && !slices.ContainsFunc(chosen(o), func(w workload) bool { return !w.remote }) {
		names = []string{"busybox"}
	}
	based, err := bases.Ensure(ctx, basesDir, os.Stderr, names...)
	if err != nil {
		return nil, nil, nil, err
	}
	store, err := loopback.OpenStore(filepath.Join(dir, "registry"))
	if err != nil {
		return nil, nil, nil, err
	}
	meter := &loopback.Meter{Handler: &loopback.Handler{Store: store, Bases: based}}
	srv, err := loopback.Listen(ctx, 0, meter)
	return store, meter, srv, err
}

func startBuilders(ctx context.Context, o options, dir, registry string) ([]builder, error) {
	var all []builder
	for name := range strings.SplitSeq(o.builders, ",") {
		var b builder
		var err error
		switch state := filepath.Join(dir, name); name {
		case "strake":
			b, err = newStrake(ctx, o.executor, state, registry)
		case "buildkit":
			b, err = newBuildKit(ctx, state, registry)
		case "buildah":
			b, err = newBuildah(state, registry)
		default:
			err = fmt.Errorf("builder %q: not known", name)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// bench is what every measurement needs.
type bench struct {
	dir      string
	store    *loopback.Store
	meter    *loopback.Meter
	registry string
	builders []builder
	count    int
}

// results are the measurements by workload and builder.
type results struct {
	workloads []workload
	samples   map[string]map[string][]sample
}

// chosen are the workloads that are wanted.
func chosen(o options) (list []workload) {
	for _, w := range workloads() {
		if o.only == "" || slices.Contains(strings.Split(o.only, ","), w.name) {
			list = append(list, w)
		}
	}
	return list
}

func measureAll(ctx context.Context, o options, b *bench) (results, error) {
	res := results{samples: map[string]map[string][]sample{}}
	for _, w := range chosen(o) {
		res.workloads = append(res.workloads, w)
		res.samples[w.name] = map[string][]sample{}
		if err := b.measure(ctx, w, o.runs, res.samples[w.name]); err != nil {
			return res, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return res, nil
}

func (b *bench) measure(ctx context.Context, w workload, runs int, into map[string][]sample) error {
	context := filepath.Join(b.dir, "context-"+w.name)
	if err := w.write(context); err != nil {
		return err
	}
	defer os.RemoveAll(context)
	for i := range runs {
		for _, builder := range b.builders {
			if err := ctx.Err(); err != nil {
				return err
			}
			s, err := b.one(ctx, w, builder, context)
			if err != nil {
				return fmt.Errorf("%s: %w", builder.name(), err)
			}
			into[builder.name()] = append(into[builder.name()], s)
			fmt.Fprintf(os.Stderr, "%-10s run %d  %-9s %7.2f s wall %7.2f s cpu %5d MiB\n", w.name, i+1, builder.name(), s.wall, s.cpu, s.peak>>20)
		}
	}
	return nil
}

// one measures one build by one builder, from cold.
func (b *bench) one(ctx context.Context, w workload, builder builder, context string) (sample, error) {
	if err := errors.Join(b.store.Reset(), builder.reset(ctx)); err != nil {
		return sample{}, err
	}
	ref := func() string {
		b.count++
		return fmt.Sprintf("%s/bench/%s:%d", b.registry, w.name, b.count)
	}
	if w.remote {
		return b.rebuild(ctx, w, builder, context, ref)
	}
	args := testkit.ProxyArgs()
	if w.before != nil {
		if _, err := builder.build(ctx, context, ref(), args); err != nil {
			return sample{}, err
		}
		if err := w.before(context); err != nil {
			return sample{}, err
		}
	}
	syscall.Sync()
	pushed := ref()
	s, err := builder.build(ctx, context, pushed, args)
	if err != nil {
		return s, err
	}
	s.size, err = imageSize(ctx, pushed)
	return s, err
}

// rebuild measures a builder that knows nothing, of a build that is in a cache in the registry.
func (b *bench) rebuild(ctx context.Context, w workload, builder builder, context string, ref func() string) (sample, error) {
	cache := fmt.Sprintf("%s/bench/%s-cache", b.registry, w.name)
	if _, err := builder.cached(ctx, context, ref(), cache, true); err != nil {
		return sample{}, err
	}
	if err := errors.Join(w.before(context), builder.reset(ctx)); err != nil {
		return sample{}, err
	}
	syscall.Sync()
	b.meter.Start(w.latency)
	defer b.meter.Start(0)
	s, err := builder.cached(ctx, context, ref(), cache, false)
	s.asked = b.meter.Requests()
	return s, err
}
