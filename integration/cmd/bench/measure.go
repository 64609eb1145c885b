package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/strake-build/strake/integration/imagetree"
)

// sample is what one build cost.
type sample struct {
	wall  float64 // seconds
	cpu   float64 // seconds of user and system time, children and daemon included
	peak  int64   // bytes of resident memory of the builder itself, at most
	size  int64   // bytes of the image's layers, which tell how hard the builder compressed
	asked int64   // requests to the registry, where a cache is measured
}

// ticks is the unit of /proc/PID/stat: USER_HZ, which is 100 on every architecture that Go runs on.
const ticks = 100

// measure runs the command. Where a daemon does the work, its processor time counts too and its memory instead.
func measure(cmd *exec.Cmd, daemon int) (sample, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	before, err := daemonTime(daemon)
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	watched := cmd.Process.Pid
	if daemon != 0 {
		watched = daemon
		resetPeak(daemon)
	}
	stop := make(chan struct{})
	peak := make(chan int64)
	go func() { peak <- watch(watched, stop) }()
	err = cmd.Wait()
	s := sample{wall: since(start)}
	close(stop)
	s.peak = <-peak
	if err != nil {
		return s, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, last(out.String(), 2000))
	}
	after, err := daemonTime(daemon)
	s.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() + after - before
	return s, err
}

// daemonTime is the processor time of a process and of its children that have ended, in seconds.
func daemonTime(pid int) (float64, error) {
	if pid == 0 {
		return 0, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command's name may hold blanks; it ends at the last parenthesis. Fields 14 to 17 of proc(5) are the times.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var sum float64
	for _, f := range fields[11:15] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum / ticks, nil
}

// resetPeak makes the kernel forget the highest resident size so far: proc(5), clear_refs. Without it, a daemon would
// be charged for an earlier build.
func resetPeak(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// watch reads the highest resident size of a process until it is told to stop.
func watch(pid int, stop <-chan struct{}) int64 {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var peak int64
	for {
		peak = max(peak, highWater(pid))
		select {
		case <-stop:
			return max(peak, highWater(pid))
		case <-tick.C:
		}
	}
}

func highWater(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// imageSize is the sum of the compressed layers of an image in the registry.
func imageSize(ctx context.Context, ref string) (int64, error) {
	images, err := imagetree.Pull(ctx, ref)
	if err != nil {
		return 0, err
	}
	m, err := images[0].Manifest()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, l := range m.Layers {
		sum += l.Size
	}
	return sum, nil
}
