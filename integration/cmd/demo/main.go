// Command demo shows strake at work: it starts a registry, builds a real Dockerfile with the executor, pushes, pulls
// back and tells what came out. Then it does what a pipeline does for two platforms, up to the signed index.
//
//	demo -executor PATH -manifest PATH
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/strake-build/strake/integration/bases"
	"github.com/strake-build/strake/integration/imagetree"
	"github.com/strake-build/strake/integration/loopback"
	"github.com/strake-build/strake/integration/release"
)

//go:embed site
var site embed.FS

func main() {
	release.Main()
	executor := flag.String("executor", "executor", "the executor to show")
	manifest := flag.String("manifest", "manifest", "the manifest command to show")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *executor, *manifest); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, executor, manifest string) error {
	dir, err := os.MkdirTemp("", "strake-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, site); err != nil {
		return err
	}
	handler := &loopback.Handler{}
	if handler.Store, err = loopback.OpenStore(filepath.Join(dir, "registry")); err != nil {
		return err
	}
	hub := hubAnswers(ctx)
	if hub {
		fmt.Println("base image: busybox, pulled from Docker Hub")
	} else {
		fmt.Println("base image: busybox, made from Debian's package (Docker Hub does not answer)")
		if handler.Bases, err = madeBases(ctx); err != nil {
			return err
		}
	}
	srv, err := loopback.Listen(ctx, 0, handler)
	if err != nil {
		return err
	}
	defer srv.Close()
	fmt.Println("registry:  ", srv.Addr)

	args := []string{
		"--context", filepath.Join(dir, "site"), "--kaniko-dir", filepath.Join(dir, "state"),
		"--build-arg", "VERSION=1.0", "--destination", srv.Addr + "/demo/site:1.0",
	}
	if !hub {
		args = append(args, "--registry-map", "index.docker.io="+srv.Addr)
	}
	if err := show(ctx, srv.Addr+"/demo/site:1.0", executor, args); err != nil {
		return err
	}
	return platforms(ctx, &release.Pipeline{
		Executor: executor, Manifest: manifest, Dir: filepath.Join(dir, "pipeline"), Store: filepath.Join(dir, "registry"), Port: srv.Port(),
	})
}

// platforms shows a pipeline for two of them.
func platforms(ctx context.Context, p *release.Pipeline) error {
	fmt.Printf("\nthe same program for %s: built apart, merged, signed, verified where nothing but the registry is, and built upon\n\n", strings.Join(release.Arches(), " and "))
	start := time.Now()
	ref, err := p.Run(ctx)
	if errors.Is(err, release.ErrNoNamespace) {
		fmt.Printf("(%v: what follows could reach more than the registry)\n", err)
		err = p.After(ctx, ref)
	}
	if err != nil {
		return err
	}
	fmt.Printf("\n%s, in %.2f s\n", ref, time.Since(start).Seconds())
	return nil
}

// hubAnswers asks Docker Hub for the base image, and does not wait long.
func hubAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	_, err := remote.Head(name.MustParseReference("busybox:latest"), remote.WithContext(ctx), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
	return err == nil
}

func madeBases(ctx context.Context) (*loopback.Store, error) {
	dir, err := bases.DefaultDir()
	if err != nil {
		return nil, err
	}
	return bases.Ensure(ctx, dir, os.Stdout, "busybox:latest")
}

// show runs the build, and then trusts nothing but the registry.
func show(ctx context.Context, ref, executor string, args []string) error {
	fmt.Printf("\n$ executor %s\n\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, executor, args...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run the executor: %w", err)
	}
	took := time.Since(start)

	images, err := imagetree.Pull(ctx, ref)
	if err != nil {
		return err
	}
	digest, err := images[0].Digest()
	if err != nil {
		return err
	}
	fmt.Printf("\npulled back %s@%s\nexecutor said %s\n", ref, digest, strings.TrimSpace(string(out)))
	if !strings.Contains(string(out), digest.String()) {
		return errors.New("the registry has another digest than the executor said")
	}
	if err := printLayers(images[0]); err != nil {
		return err
	}
	fmt.Printf("built and pushed in %.2f s\n", took.Seconds())
	return nil
}

func printLayers(img imagetree.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for i, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return err
		}
		size, err := l.Size()
		if err != nil {
			return err
		}
		fmt.Printf("layer %d  %s  %9d bytes\n", i+1, digest, size)
	}
	tree, err := imagetree.Flatten(img)
	if err != nil {
		return err
	}
	for _, page := range []string{"www/index.html", "www/about.html"} {
		n := tree[page]
		if n == nil {
			return fmt.Errorf("the image lacks %s", page)
		}
		fmt.Printf("/%s: %d bytes, mode %04o, owner %d\n", page, n.Size, n.Mode, n.UID)
	}
	return nil
}
