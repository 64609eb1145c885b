// Command registry serves base images and takes pushes on a loopback port, until it is interrupted.
//
//	registry [-port N] [-store DIR] [-bases DIR]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/strake-build/strake/integration/bases"
	"github.com/strake-build/strake/integration/loopback"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := bases.DefaultDir()
	if err != nil {
		return err
	}
	port := flag.Int("port", 5000, "listen on this port of 127.0.0.1; 0 takes a free one")
	storeDir := flag.String("store", "", "keep what is pushed here (a temporary directory, if empty)")
	flag.StringVar(&dir, "bases", dir, "serve the base images of this directory too")
	flag.Parse()
	if *storeDir == "" {
		if *storeDir, err = os.MkdirTemp("", "registry-"); err != nil {
			return err
		}
		defer os.RemoveAll(*storeDir)
	}
	return serve(ctx, *port, *storeDir, filepath.Join(dir, "store"))
}

func serve(ctx context.Context, port int, storeDir, basesDir string) error {
	store, err := loopback.OpenStore(storeDir)
	if err != nil {
		return err
	}
	based, err := loopback.OpenStore(basesDir)
	if err != nil {
		return err
	}
	srv, err := loopback.Listen(ctx, port, &loopback.Handler{Store: store, Bases: based})
	if err != nil {
		return err
	}
	fmt.Println(srv.Addr)
	<-ctx.Done()
	return srv.Close()
}
