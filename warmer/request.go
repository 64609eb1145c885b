package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/warm"
	"github.com/strake-build/strake/shared/warmed"
)

// client makes the registry client of the flags.
func (c *command) client(x *cli.Context) (*registry.Client, error) {
	o, err := shared.Registries(x, shared.Environment{Variables: os.Environ(), Notice: func(line string) { c.log.Warn().Msg(line) }})
	if err != nil {
		return nil, err
	}
	return shared.Client(o)
}

// platforms reads --platform; all is every one.
func platforms(x *cli.Context) (list []v1.Platform, all bool, err error) {
	var errs []error
	for _, s := range x.StringSlice("platform") {
		for name := range strings.SplitSeq(s, ",") {
			name = strings.TrimSpace(name)
			if name == "all" {
				all = true
				continue
			}
			p, err := registry.ParsePlatform(name)
			if err != nil {
				errs = append(errs, fmt.Errorf("--platform %s: %w", name, err))
				continue
			}
			list = append(list, *p)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, false, &shared.UsageError{Err: err}
	}
	return list, all, nil
}

// wanted lists the images of the flags.
func (c *command) wanted(ctx context.Context, x *cli.Context, w *warm.Warmer) ([]warm.Image, error) {
	list, all, err := platforms(x)
	if err != nil {
		return nil, err
	}
	if len(x.StringSlice("image"))+len(x.StringSlice("dockerfile")) == 0 && x.String("lock") == "" {
		return nil, &shared.UsageError{Err: errors.New("nothing to warm: give --image, --dockerfile or --lock")}
	}
	var out []warm.Image
	for _, ref := range x.StringSlice("image") {
		if _, err := store.Canonical(ref); err != nil {
			return nil, &shared.UsageError{Err: fmt.Errorf("--image: %w", err)}
		}
		out = append(out, warm.Image{Ref: ref, Platforms: list, All: all})
	}
	for _, d := range x.StringSlice("dockerfile") {
		found, err := c.inDockerfile(ctx, x, w, d, list)
		if err != nil {
			return nil, err
		}
		for _, img := range found {
			img.All = all
			out = append(out, img)
		}
	}
	locked, err := lockedImages(x, list, all)
	return append(out, locked...), err
}

// lockedImages are those of a lock file, by digest.
func lockedImages(x *cli.Context, list []v1.Platform, all bool) (out []warm.Image, err error) {
	if x.String("lock") == "" {
		return nil, nil
	}
	lock, err := warmed.ReadLock(x.String("lock"))
	if err != nil {
		return nil, &shared.UsageError{Err: fmt.Errorf("--lock: %w", err)}
	}
	for ref, l := range lock.Images {
		out = append(out, warm.Image{Ref: ref + "@" + l.Digest.String(), Platforms: list, All: all})
	}
	slices.SortFunc(out, func(a, b warm.Image) int { return strings.Compare(a.Ref, b.Ref) })
	return out, nil
}

func (c *command) inDockerfile(ctx context.Context, x *cli.Context, w *warm.Warmer, name string, list []v1.Platform) ([]warm.Image, error) {
	content, err := readDockerfile(ctx, name)
	if err != nil {
		return nil, err
	}
	args := make(map[string]string)
	for _, s := range x.StringSlice("build-arg") {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			if v, ok = os.LookupEnv(k); !ok {
				continue
			}
		}
		args[k] = v
	}
	found, err := w.Find(ctx, warm.Dockerfile{Name: name, Content: content, BuildArgs: args, Target: x.String("target"), Platforms: list})
	if err != nil {
		return nil, err
	}
	for _, img := range found {
		c.log.Debug().Str("dockerfile", name).Msgf("needs %s", img.Ref)
	}
	return found, nil
}

// longestDockerfile is more than any has.
const longestDockerfile = 16 << 20

func readDockerfile(ctx context.Context, name string) ([]byte, error) {
	if !strings.HasPrefix(name, "http://") && !strings.HasPrefix(name, "https://") {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("--dockerfile: %w", err)
		}
		return b, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, name, nil)
	if err != nil {
		return nil, &shared.UsageError{Err: fmt.Errorf("--dockerfile: %w", err)}
	}
	client := &http.Client{Timeout: 2 * time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("--dockerfile: %w: %w", registry.ErrUnavailable, err)
	}
	defer resp.Body.Close()
	at := req.URL.Redacted()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("--dockerfile %s: %w: the server says %s", at, registry.ErrNotFound, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, longestDockerfile+1))
	if err != nil {
		return nil, fmt.Errorf("--dockerfile %s: %w", at, err)
	}
	if len(b) > longestDockerfile {
		return nil, fmt.Errorf("--dockerfile %s: more than %d bytes", at, longestDockerfile)
	}
	return b, nil
}

// duration reads 30d besides Go's own 12h30m.
func duration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < 0 || n > 36500 {
			return 0, fmt.Errorf("%q: not a number of days", s)
		}
		return time.Duration(n * 24 * float64(time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errors.New("it is less than nothing")
	}
	return d, err
}

// policy reads what gc is to remove.
func policy(x *cli.Context) (store.Policy, error) {
	p := store.Policy{Keep: x.StringSlice("keep"), DryRun: x.Bool("dry-run")}
	var errs []error
	if s := x.String("max-size"); s != "" {
		n, err := units.RAMInBytes(s)
		if err == nil && n <= 0 {
			err = errors.New("nothing would be left")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--max-size %s: %w", s, err))
		}
		p.MaxSize = n
	}
	var err error
	if s := x.String("unused-for"); s != "" {
		if p.UnusedFor, err = duration(s); err != nil {
			errs = append(errs, fmt.Errorf("--unused-for %s: %w", s, err))
		}
	}
	if p.Grace, err = duration(x.String("grace")); err != nil {
		errs = append(errs, fmt.Errorf("--grace: %w", err))
	}
	if p.Grace == 0 {
		p.Grace = -1
	}
	if err := errors.Join(errs...); err != nil {
		return p, &shared.UsageError{Err: err}
	}
	return p, nil
}
