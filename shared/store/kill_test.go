package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/store"
)

// The test binary is its own warmer: with these set it works on a store and, at
// the step of that number, is killed as by `kill -9`.
const (
	envDir  = "STORE_TEST_DIR"
	envKill = "STORE_TEST_KILL_AT"
	envSeed = "STORE_TEST_SEED"
	// envNoLocks has every other process on a mount of its own without locks.
	envNoLocks = "STORE_TEST_NO_LOCKS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		if err := work(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func work(dir string) error {
	at, err := strconv.Atoi(os.Getenv(envKill))
	if err != nil {
		at = -1
	}
	var mu sync.Mutex
	n := 0
	s, err := store.Open(dir, store.Options{Fault: func(step, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if step == "lock" && os.Getenv(envNoLocks) != "" {
			return syscall.ENOLCK
		}
		if n == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Hour)
		}
		n++
		return nil
	}})
	if err != nil {
		return err
	}
	ctx, cancel := contextWithTimeout()
	defer cancel()
	seed := os.Getenv(envSeed)
	if err := warm(ctx, s, "alpine:"+seed, newImage("shared")); err != nil {
		return err
	}
	if err := warm(ctx, s, "busybox:"+seed, newImage(seed)); err != nil {
		return err
	}
	if err := s.DeleteRef("busybox:" + seed); err != nil {
		return err
	}
	var p store.Policy
	if at >= 0 { // nobody else is here, whom only the grace protects without locks
		p.Grace = -1
	}
	_, err = s.Collect(ctx, p)
	return err
}

func worker(dir, seed string, killAt int) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envDir+"="+dir, envSeed+"="+seed, envKill+"="+strconv.Itoa(killAt))
	cmd.Stderr = os.Stderr
	return cmd
}

// TestKill kills a process at every one of its steps in turn. What it leaves is
// right, and the next one finishes the work.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some hundred processes")
	}
	dir := t.TempDir()
	for at := 0; ; at++ {
		err := worker(dir, "x", at).Run()
		healthy(t, dir)
		if err == nil {
			if at < 50 {
				t.Errorf("done after %d steps: not every step can be killed at", at)
			}
			break
		}
		if ee, ok := errors.AsType[*exec.ExitError](err); !ok || ee.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("step %d: %v", at, err)
		}
	}
	s := open(t, dir, store.Options{})
	complete(t, s, "alpine:x", newImage("shared"))
	if s.Has(newImage("x").root) {
		t.Error("what was collected is still there")
	}
}

// TestManyProcesses has processes that fill and collect the same directory at
// once, half of them without locks, as over a network, and readers who must always
// find what is named whole.
func TestManyProcesses(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{})
	if err := warm(t.Context(), s, "alpine:seen", newImage("shared")); err != nil {
		t.Fatal(err)
	}
	var writers, readers sync.WaitGroup
	for n := range 8 {
		writers.Go(func() {
			cmd := worker(dir, fmt.Sprint("w", n), -1)
			if n%2 == 1 {
				cmd.Env = append(cmd.Env, envNoLocks+"=1")
			}
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				complete(t, open(t, dir, store.Options{ReadOnly: true}), "alpine:seen", newImage("shared"))
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	healthy(t, dir)
	for n := range 8 {
		complete(t, s, fmt.Sprint("alpine:w", n), newImage("shared"))
	}
}

func contextWithTimeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}
