package bases

import (
	"archive/tar"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// suite is the Debian release of the bases, whatever the machine runs itself.
const suite = "bookworm"

// debian is the smallest Debian with apt in it. It takes its packages from where the machine does.
var debian = recipe{
	refs: []string{"debian:bookworm-slim", "debian:latest"},
	key: func(ctx context.Context) (string, error) {
		return debianKey(ctx, "debian 1")
	},
	make: func(ctx context.Context, dir string) (remote.Taggable, error) {
		layer, err := debianLayer(ctx, dir)
		if err != nil {
			return nil, err
		}
		return newImage(v1.Config{Env: []string{path}, Cmd: []string{"bash"}}, layer)
	},
}

// node has Debian's nodejs and npm.
var node = recipe{
	refs: []string{"node:latest"},
	key: func(ctx context.Context) (string, error) {
		return debianKey(ctx, "node 1")
	},
	make: func(ctx context.Context, dir string) (remote.Taggable, error) {
		layer, err := debianLayer(ctx, dir, "nodejs", "npm", "git", "ca-certificates")
		if err != nil {
			return nil, err
		}
		env := []string{path, "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt"}
		return newImage(v1.Config{Env: env, Cmd: []string{"node"}}, layer)
	},
}

// toolbox has what checks of owners, modes and capabilities want, and what a user namespace does.
var toolbox = recipe{
	refs: []string{"toolbox:latest"},
	key: func(ctx context.Context) (string, error) {
		return debianKey(ctx, "toolbox 1")
	},
	make: func(ctx context.Context, dir string) (remote.Taggable, error) {
		layer, err := debianLayer(ctx, dir, "libcap2-bin", "openssh-client", "uidmap")
		if err != nil {
			return nil, err
		}
		return newImage(v1.Config{Env: []string{path}, Cmd: []string{"bash"}}, layer)
	},
}

// golang has the machine's own Go toolchain on a Debian with git.
var golang = recipe{
	refs: []string{"golang:latest"},
	key: func(ctx context.Context) (string, error) {
		key, err := debianKey(ctx, "golang 1")
		return keyOf(key, runtime.Version()), err
	},
	make: golangImage,
}

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func golangImage(ctx context.Context, dir string) (remote.Taggable, error) {
	system, err := debianLayer(ctx, dir, "git", "ca-certificates")
	if err != nil {
		return nil, err
	}
	root, err := output(ctx, "", "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	goroot := strings.TrimSpace(string(root))
	toolchain, err := writeLayer(filepath.Join(dir, "go.tar.gz"), func(tw *tar.Writer) error {
		return addFolder(tw, goroot, "usr/local/go", func(rel string) bool {
			return slices.Contains([]string{"test", "doc", "api", "misc", ".git"}, rel) || strings.HasSuffix(rel, "/testdata")
		})
	})
	if err != nil {
		return nil, err
	}
	env := []string{strings.Replace(path, "=", "=/go/bin:/usr/local/go/bin:", 1), "GOPATH=/go", "GOTOOLCHAIN=local"}
	more, err := goSettings(ctx)
	if err != nil {
		return nil, err
	}
	cfg := v1.Config{Env: append(env, more...), WorkingDir: "/go", Cmd: []string{"bash"}}
	return newImage(cfg, system, toolchain)
}

// goSettings passes on where this machine gets its modules from, if it says so.
func goSettings(ctx context.Context) ([]string, error) {
	out, err := output(ctx, "", "go", "env", "-changed", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE")
	if err != nil {
		return nil, err
	}
	var env []string
	for line := range strings.Lines(string(out)) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok {
			env = append(env, k+"="+strings.Trim(v, `'"`))
		}
	}
	return env, nil
}

func debianKey(ctx context.Context, recipe string) (string, error) {
	apt, err := readApt(ctx)
	if err != nil {
		return "", err
	}
	key := []string{recipe, runtime.GOARCH, strings.Join(apt.sources, "\n"), strings.Join(apt.options, "\n")}
	certs, err := localCertificates()
	if err != nil {
		return "", err
	}
	for _, c := range certs {
		b, err := os.ReadFile(c)
		if err != nil {
			return "", err
		}
		key = append(key, string(b))
	}
	return keyOf(key...), nil
}

// debianLayer makes a root file system by mmdebstrap and keeps of it what a published slim image has: no manuals, no
// package lists, nothing of the machine it was made on but where packages come from.
func debianLayer(ctx context.Context, dir string, packages ...string) (v1.Layer, error) {
	apt, err := readApt(ctx)
	if err != nil {
		return nil, err
	}
	certs, err := localCertificates()
	if err != nil {
		return nil, err
	}
	out := filepath.Join(dir, "root.tar")
	args := mmdebstrap(apt, certs, packages)
	args = append(args, suite, out)
	if _, err := output(ctx, dir, append(args, apt.sources...)...); err != nil {
		return nil, err
	}
	defer os.Remove(out)
	f, err := os.Open(out)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return writeLayer(filepath.Join(dir, "root.tar.gz"), func(tw *tar.Writer) error {
		return copyTar(tw, f, keepEntry)
	})
}

func mmdebstrap(apt aptSettings, certs, packages []string) []string {
	args := []string{"mmdebstrap", "--quiet", "--mode=auto", "--variant=minbase", "--format=tar"}
	for _, p := range []string{"doc", "man", "locale", "info", "lintian"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+p+"/*")
	}
	args = append(args, "--dpkgopt=path-include=/usr/share/doc/*/copyright")
	for _, o := range apt.options {
		args = append(args, "--aptopt="+o)
	}
	if len(packages) > 0 {
		args = append(args, "--include="+strings.Join(packages, ","))
	}
	if len(certs) > 0 {
		args = append(args, `--customize-hook=mkdir -p "$1/usr/local/share/ca-certificates"`)
	}
	for _, c := range certs {
		args = append(args, "--customize-hook=copy-in "+c+" /usr/local/share/ca-certificates")
	}
	// Only now, for mmdebstrap itself needs the packages that it downloaded.
	args = append(args, `--customize-hook=echo 'APT::Keep-Downloaded-Packages "false";' >"$1/etc/apt/apt.conf.d/90keep"`)
	return append(args, `--customize-hook=if [ -x "$1/usr/sbin/update-ca-certificates" ]; then chroot "$1" update-ca-certificates >/dev/null; fi`)
}

// keepEntry drops what a container runtime provides and what would betray the machine.
func keepEntry(h *tar.Header) bool {
	h.Uname, h.Gname = "", ""
	name := strings.TrimPrefix(strings.TrimSuffix(h.Name, "/"), "./")
	for _, d := range []string{"dev/", "proc/", "sys/", "run/", "var/cache/", "var/lib/apt/lists/", "var/log/"} {
		if strings.HasPrefix(name, d) {
			return h.Typeflag == tar.TypeDir && !strings.HasPrefix(name, "dev/")
		}
	}
	return !slices.Contains([]string{"etc/resolv.conf", "etc/hostname", "etc/machine-id"}, name)
}

// localCertificates are authorities that this machine's owner added: behind some proxies nothing is reached without.
func localCertificates() ([]string, error) {
	var found []string
	err := filepath.WalkDir("/usr/local/share/ca-certificates", func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(p, ".crt") {
			found = append(found, p)
		}
		return err
	})
	return found, err
}

// aptSettings is where packages come from.
type aptSettings struct {
	sources []string // one-line style
	options []string // Acquire::… "…"
}

func readApt(ctx context.Context) (aptSettings, error) {
	main, security := "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
	targets, err := output(ctx, "", "apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages")
	if err != nil && !errors.Is(err, exec.ErrNotFound) {
		return aptSettings{}, err
	}
	for line := range strings.Lines(string(targets)) {
		switch f := strings.Fields(line); {
		case len(f) != 3 || f[0] != "Debian":
		case f[1] == "Debian":
			main = strings.TrimSuffix(f[2], "/")
		case f[1] == "Debian-Security":
			security = strings.TrimSuffix(f[2], "/")
		}
	}
	apt := aptSettings{sources: []string{
		"deb " + main + " " + suite + " main",
		"deb " + main + " " + suite + "-updates main",
		"deb " + security + " " + suite + "-security main",
	}}
	apt.options, err = aptOptions(ctx)
	return apt, err
}

// aptOptions are the settings of the machine that decide whether a download works at all.
func aptOptions(ctx context.Context) ([]string, error) {
	out, err := output(ctx, "", "apt-config", "dump", "--no-empty")
	if err != nil {
		return nil, err
	}
	options := []string{`Acquire::Languages "none"`}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ";")
		for _, p := range []string{"Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::Retries"} {
			if strings.HasPrefix(line, p) {
				options = append(options, line)
			}
		}
	}
	return options, nil
}
