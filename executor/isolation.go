package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/strake-build/strake/shared/build"
	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/environment"
	"github.com/strake-build/strake/shared/fakeroot"
	"github.com/strake-build/strake/shared/sandbox"
)

// isolation is how steps are to be isolated.
func (p *parser) isolation() build.Isolation {
	i := build.Isolation{View: p.x.String("isolation"), Identity: p.x.String("identity"), Clean: p.x.Bool("cleanup"), Materialize: p.x.Bool("materialize")}
	p.materialized(&i)
	program, err := os.Executable()
	if err != nil {
		p.fail("find the builder's own program: %w", err)
	}
	i.Home = filepath.Dir(program)
	if size := p.x.String("overlay-memory"); size != "" {
		if i.Memory, err = units.RAMInBytes(size); err != nil || i.Memory <= 0 {
			p.fail("--overlay-memory %s: not a number of bytes, like 2g", size)
		}
	}
	// They are read before the first step, and not again.
	i.Hide = slices.DeleteFunc(shared.CredentialFiles(os.Environ()), func(f string) bool { return !lstatOK(f) })
	late, err := lasting(i.Home)
	if err != nil {
		p.fail("%w", err)
	}
	i.Keep = slices.Concat(p.kept(), i.Hide, late)
	return i
}

// materialized has a build whose files are to stay in the container's root carried out there.
func (p *parser) materialized(i *build.Isolation) {
	switch {
	case !i.Materialize:
	case i.Clean:
		p.fail("--materialize leaves the image's files in the container's root, and --cleanup empties it: choose one")
	case i.View == "auto":
		i.View = environment.InPlace
	case i.View != environment.InPlace:
		p.fail("--materialize: with --isolation %s the image's root is apart from the container's; leave that out, or save the image with --oci-layout-path", i.View)
	}
}

// kept are the files and directories that the flags name: they stay where they
// are when a stage is put into the container's own root.
func (p *parser) kept() []string {
	paths := []string{os.Getenv("BUILDER_OUTPUT"), os.Getenv("DOCKER_CONFIG"), os.Getenv("SSL_CERT_DIR"), os.Getenv("SSL_CERT_FILE")}
	for _, flag := range []string{
		"context", "dockerfile", "kaniko-dir", "tar-path", "oci-layout-path", "digest-file", "image-name-with-digest-file",
		"image-name-tag-with-digest-file", "metadata-file", "timings-file", "termination-log",
		"cache-dir",
	} {
		paths = append(paths, strings.TrimPrefix(p.x.String(flag), "dir://"))
	}
	for _, flag := range []string{"build-context", "registry-certificate", "registry-client-cert", "secret", "ssh"} {
		for _, v := range p.x.StringSlice(flag) { // HOST=FILE, NAME=oci-layout://DIR, id=NAME,src=FILE
			for _, field := range strings.FieldsFunc(v, func(r rune) bool { return r == '=' || r == ',' }) {
				paths = append(paths, strings.TrimPrefix(field, "oci-layout://"))
			}
		}
	}
	var kept []string
	for _, s := range paths {
		if strings.Contains(s, "://") || s == "" || strings.HasPrefix(s, "/dev/") {
			continue
		}
		abs, err := filepath.Abs(s)
		if err == nil && exists(abs) {
			kept = append(kept, abs)
		}
	}
	return kept
}

// exists tells whether there is such a file, or a directory for it.
func exists(abs string) bool {
	_, err := os.Lstat(filepath.Dir(abs))
	return err == nil && filepath.Dir(abs) != "/" || lstatOK(abs)
}

func lstatOK(abs string) bool {
	_, err := os.Lstat(abs)
	return err == nil
}

// exitStatus is the code of a build that ran in another process of ours.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// enterNamespace runs the whole command again in a user namespace, where an
// ordinary user may mount, and says so.
func (c *command) enterNamespace(ctx context.Context, view string) (done bool, err error) {
	env := os.Environ()
	if view == environment.Chroot || view == environment.InPlace || sandbox.InUserNamespace(env) || !sandbox.NeedsUserNamespace() {
		return false, nil
	}
	if err := sandbox.TryUserNamespace(); err != nil {
		c.log.Debug().AnErr("why", err).Msg("no user namespace is entered")
		return false, nil //nolint:nilerr // the build goes on without
	}
	n, err := sandbox.PlanUserNamespace()
	if err != nil {
		c.log.Debug().AnErr("why", err).Msg("no user namespace is entered")
		return false, nil //nolint:nilerr // as above
	}
	for {
		code, err := c.enter(ctx, n, env)
		if err == nil {
			return true, code
		}
		c.log.Debug().Err(err).Msg("no user namespace can be entered with " + n.IDs.String())
		if n.IDs == sandbox.OneID {
			return false, nil
		}
		n = sandbox.OwnID(err)
	}
}

// enter returns what the command inside ended with; the error says that it did
// not begin. Where the user has no ids but his own, others are emulated.
func (c *command) enter(ctx context.Context, n sandbox.Namespace, env []string) (status, err error) {
	if n.IDs == sandbox.OneID {
		if err := fakeroot.Supported(); err != nil {
			return nil, errors.Join(n.Why, err)
		}
	}
	code, err := n.Enter(ctx, os.Args, env)
	if err != nil || code == 0 {
		return nil, err
	}
	return exitStatus(code), nil
}
