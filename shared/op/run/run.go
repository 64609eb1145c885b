// Package run carries out RUN: one process in a root filesystem made of a tree, and the layer of what it changed.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/tree"
)

// Runner carries out graph.Exec. Its fields are set once, before the first Run;
// Run may then be called by many goroutines at once.
type Runner struct {
	Roots     Roots
	Sandbox   sandbox.Sandbox
	Workspace *tree.Workspace
	Secrets   Secrets
	SSH       Agents
	Caches    *Caches
	// Allow says which entitlements the user granted.
	Allow Entitlements
	// Resolv and Hostname are what the step finds in /etc/resolv.conf and as its
	// host's name when it says nothing itself.
	Resolv   []byte
	Hostname string
	// SnapshotTimeout is how long looking for a step's changes may take; 0 is as
	// long as it takes.
	SnapshotTimeout time.Duration
}

// Entitlements are the privileges that a Dockerfile may ask for (--allow).
type Entitlements struct{ NetworkHost bool }

// Secrets gives the values of secrets.
type Secrets interface {
	// Secret returns the value of a secret; ok is false when the user gave none by that ID.
	Secret(id string) (value []byte, ok bool, err error)
}

// ExitError is a step that ran and did not succeed.
type ExitError struct {
	Args []string
	sandbox.Exit
}

func (e *ExitError) Error() string {
	cmd := strings.Join(e.Args, " ")
	switch {
	case e.OOMKilled:
		return fmt.Sprintf("process %q was killed for want of memory", cmd)
	case e.Signal != 0:
		return fmt.Sprintf("process %q was killed by signal %d (%s)", cmd, int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("process %q did not complete successfully: exit code: %d", cmd, e.Code)
}

// ExitCode is what a shell would say: the process's own code, or 128 and the signal.
func (e *ExitError) ExitCode() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// Unsupported is a wish of the Dockerfile that cannot be granted.
type Unsupported struct{ What, Way string }

func (e *Unsupported) Error() string { return e.What + ": " + e.Way }

// defaultHostname is BuildKit's name for the host of a step.
const defaultHostname = "buildkitsandbox"

// defaultPath is the search path of a step whose environment has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Run carries out op on the inputs and returns the trees of its outputs. The
// error is an *ExitError when the process ran and failed, *Unsupported when the
// step asks for what is not offered or not allowed.
func (r *Runner) Run(ctx context.Context, op *graph.Exec, inputs []tree.Tree, stdout, stderr io.Writer) (_ []tree.Tree, err error) {
	if err := r.check(op); err != nil {
		return nil, err
	}
	base := inputTree(rootMount(op), inputs)
	view, err := base.View(ctx)
	if err != nil {
		return nil, err
	}
	proc, err := r.process(op, view)
	if err != nil {
		return nil, err
	}
	proc.Stdout, proc.Stderr = stdout, stderr
	m, err := r.mounts(ctx, op, view, inputs)
	defer func() { err = errors.Join(err, m.release()) }()
	if err != nil {
		return nil, err
	}
	if err := m.workdir(&proc, path.Join("/", op.Cwd)); err != nil {
		return nil, err
	}
	proc.Mounts = m.list
	root, err := r.Roots.Open(ctx, base, view)
	if err != nil {
		return nil, err
	}
	out, err := r.runIn(ctx, root, op, proc, m.points)
	if err != nil {
		return nil, errors.Join(err, root.Discard())
	}
	return outputs(op, base, out), nil
}

// runIn runs the process and takes the layer that it made.
func (r *Runner) runIn(ctx context.Context, root Root, op *graph.Exec, proc sandbox.Process, points []Point) (tree.Tree, error) {
	if err := root.Place(ctx, points); err != nil {
		return tree.Tree{}, err
	}
	exit, err := r.Sandbox.Run(ctx, root.Disk(), proc)
	if err != nil {
		return tree.Tree{}, err
	}
	if exit.Signal != 0 || exit.Code != 0 && !slices.Contains(op.ValidExitCodes, int32(exit.Code)) { //nolint:gosec // exit codes are below 256
		return tree.Tree{}, &ExitError{Args: op.Args, Exit: exit}
	}
	return r.commit(ctx, root)
}

// commit takes the layer, in the time that there is.
func (r *Runner) commit(ctx context.Context, root Root) (tree.Tree, error) {
	if r.SnapshotTimeout <= 0 {
		return root.Commit(ctx)
	}
	limit := fmt.Errorf("looking for what the step changed took longer than %s: %w", r.SnapshotTimeout, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, r.SnapshotTimeout, limit)
	defer cancel()
	t, err := root.Commit(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return t, err
}

func (r *Runner) check(op *graph.Exec) error { return Check(op, r.Allow) }

// Check refuses what is not offered or not allowed, whether the step would run or
// its result be remembered. The error is an *Unsupported.
func Check(op *graph.Exec, allow Entitlements) error {
	devices := slices.DeleteFunc(slices.Clone(op.Devices), func(d string) bool { return slices.Contains(op.OptionalDevices, d) })
	switch {
	case op.Insecure:
		return &Unsupported{"RUN --security=insecure", "a step never gets the builder's privileges here; take the flag away"}
	case len(devices) > 0:
		return &Unsupported{"RUN --device=" + devices[0], "devices are not handed to steps; take the flag away"}
	case op.Network == graph.NetworkHost && !allow.NetworkHost:
		return &Unsupported{"RUN --network=host", "not allowed; give --allow network.host to permit it"}
	case op.CgroupParent != "":
		return &Unsupported{"--cgroup-parent", "steps run in the builder's own control group; set limits on the builder"}
	case len(op.Limits) > 0:
		return &Unsupported{"resource limit " + op.Limits[0], "steps run in the builder's own control group; set limits on the builder"}
	case len(op.Args) == 0:
		return errors.New("no command to run")
	}
	return nil
}

// rootMount is the mount that is the step's root filesystem.
func rootMount(op *graph.Exec) *graph.Mount {
	for i := range op.Mounts {
		if op.Mounts[i].Target == "/" {
			return &op.Mounts[i]
		}
	}
	return &graph.Mount{Target: "/", Input: -1, Output: 0}
}

// inputTree is what a mount shows, before its selector.
func inputTree(m *graph.Mount, inputs []tree.Tree) tree.Tree {
	if m.Input < 0 || m.Input >= len(inputs) {
		return tree.Tree{}
	}
	return inputs[m.Input]
}

// outputs puts the step's result at its place. A vertex may name more outputs
// than the root; those that are not written to stay what they were.
func outputs(op *graph.Exec, base, root tree.Tree) []tree.Tree {
	n := 1
	for _, m := range op.Mounts {
		n = max(n, m.Output+1)
	}
	out := make([]tree.Tree, n)
	for i := range out {
		out[i] = base
	}
	if m := rootMount(op); m.Output >= 0 {
		out[m.Output] = root
	}
	return out
}

// process fills in all of the process but its mounts, directory and outputs.
func (r *Runner) process(op *graph.Exec, view *tree.View) (sandbox.Process, error) {
	u, err := lookupUser(view, op.User)
	if err != nil {
		return sandbox.Process{}, err
	}
	p := sandbox.Process{
		Args: op.Args, Env: slices.Clone(op.Env),
		UID: u.uid, GID: u.gid, Groups: u.allGroups(),
		Hostname: op.Hostname,
	}
	if p.Hostname == "" {
		p.Hostname = r.hostname()
	}
	if op.Network == graph.NetworkNone {
		p.Network = sandbox.None
	}
	for _, l := range op.Ulimits {
		p.Rlimits = append(p.Rlimits, sandbox.Rlimit{Name: l.Name, Soft: l.Soft, Hard: l.Hard})
	}
	p.Env = append(p.Env, op.ProxyEnv...)
	p.Env = withDefault(p.Env, "PATH", defaultPath)
	p.Env = withDefault(p.Env, "HOME", u.home)
	if p.Env, err = r.secretEnv(p.Env, op.SecretEnv); err != nil {
		return sandbox.Process{}, err
	}
	return p, nil
}

func (r *Runner) hostname() string {
	if r.Hostname != "" {
		return r.Hostname
	}
	return defaultHostname
}

// withDefault adds a variable unless the environment has it already.
func withDefault(env []string, key, value string) []string {
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, key+"=") }) {
		return env
	}
	return append(env, key+"="+value)
}
