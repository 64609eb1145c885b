// Package buildcontext fetches build contexts from where users keep them: archives, web servers, object stores, git, registries.
//
// A context is a directory on this machine, or a table whose files lie in one
// spool: an archive is unpacked while it arrives, and neither it nor a directory
// tree of it is ever on disk. So contents, owners and modes are those of the
// archive whoever builds, and there is nothing that could lead out.
package buildcontext

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/source"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/tree"
)

// Source is where a build context comes from.
//
// Fetch gets all of it, or fails: an archive that was cut off, is malformed,
// costs more than its limits, or is not what its checksum says is an error, and
// no part of it is given out. What fails for a reason that may pass was tried
// again. Standard input can be fetched once, everything else any number of times.
type Source interface {
	Fetch(ctx context.Context, m Means) (*Context, error)
}

// Means are what a build gives to those who fetch.
type Means struct {
	// Dir is a directory that nobody else writes to. It must be there for as
	// long as the context is used.
	Dir string
	// Registry pulls contexts of the kind oci://.
	Registry *registry.Client
	// Client makes the requests to http and https; nil is a plain one.
	Client *http.Client
	// Secrets are those of the build. A source looks for credentials there that
	// it was not given.
	Secrets source.Secrets
	// Dial connects to an ssh agent by its ID; ok is false when there is none.
	Dial func(id string) (conn io.ReadWriteCloser, ok bool, err error)
}

// Context is a build context that is here: one of Dir and Table is set.
type Context struct {
	Dir   string
	Table *layer.Table
	// Origin is where it came from, with the digest or the commit that it was,
	// and without secrets. It is empty for a directory.
	Origin string
	// URI and Digest say the same to programs; Digest is by in-toto's names of algorithms.
	URI    string
	Digest map[string]string
	// Notices are what a user should know about it, a line each.
	Notices []string
}

// Options are what a user says about a context besides its address. The zero
// value suits what needs no credentials.
type Options struct {
	// SubPath is the folder of the context to be used.
	SubPath string
	// Checksum is what an archive must hash to, as "sha256:…"; for git, the
	// commit, or the beginning of it. Empty: anything goes.
	Checksum string
	Limits   Limits
	// Stdin is read for tar://stdin.
	Stdin io.Reader
	Git   Git
	S3    S3
	GCS   GCS
	Azure Azure
}

// New reads the address of a context:
//
//	DIR, dir://DIR
//	tar://FILE, tar://stdin
//	https://… (an archive, or a Dockerfile), http://…
//	git://…, https://….git, ssh://…, user@host:path, each with #REF[:SUBDIR]
//	gs://BUCKET/OBJECT, s3://BUCKET/KEY, https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB
//	oci://REPOSITORY[:TAG][@DIGEST]
//
// Nothing is fetched, and nobody is asked. Errors are about the address or the options.
func New(ref string, o Options) (Source, error) {
	s, err := parse(ref, o)
	if err != nil {
		return nil, err
	}
	if inner, ok := s.(interface{ within(sub string) }); ok {
		inner.within(o.SubPath)
		return s, nil
	}
	if sub := cleanSub(o.SubPath); sub != "" {
		return &subPath{s, sub}, nil
	}
	return s, nil
}

// cleanSub makes a path in the context of what a user wrote: it never leads out.
func cleanSub(p string) string { return path.Clean("/" + p)[1:] }

func parse(ref string, o Options) (Source, error) {
	scheme, rest, ok := strings.Cut(ref, "://")
	if !ok && !isSCP(ref) {
		scheme, rest = "dir", ref
	}
	if IsGit(ref) {
		return newGit(ref, o)
	}
	if (scheme == "dir" || scheme == "oci") && o.Checksum != "" {
		return nil, fmt.Errorf("context %s: a checksum is for archives and git", ref)
	}
	switch scheme {
	case "dir":
		return &directory{path: rest}, nil
	case "oci":
		return newOCI(rest, o)
	}
	sum, err := parseChecksum(o.Checksum)
	if err != nil {
		return nil, err
	}
	a := &archive{name: source.Bare(ref), checksum: sum, limits: o.Limits, again: true}
	switch scheme {
	case "tar":
		err = a.fromTar(rest, o.Stdin)
	case "http", "https":
		err = a.fromWeb(ref, o.Azure)
	case "gs", "gcs":
		a.open, err = o.GCS.opener(rest)
	case "s3":
		a.open, err = o.S3.opener(rest)
	default:
		err = fmt.Errorf("the kind %s:// is not known; there are dir, tar, http, https, git, ssh, gs, s3 and oci", scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", a.name, err)
	}
	return a, nil
}

// defaultObject is what an object is called when only its bucket is given, as in kaniko.
const defaultObject = "context.tar.gz"

// bucketAndKey cuts BUCKET/KEY.
func bucketAndKey(s string) (bucket, key string, err error) {
	bucket, key, _ = strings.Cut(s, "/")
	if bucket == "" || strings.ContainsAny(bucket, "?#@:\\ ") {
		return "", "", fmt.Errorf("bucket %q", bucket)
	}
	if key == "" {
		key = defaultObject
	}
	return bucket, key, nil
}

// directory is a context that is here already.
type directory struct{ path, sub string }

func (d *directory) within(sub string) { d.sub = cleanSub(sub) }

// Fetch implements Source.
func (d *directory) Fetch(context.Context, Means) (*Context, error) {
	return &Context{Dir: path.Join(d.path, d.sub)}, nil
}

// Local tells whether s is a directory of this machine, and which.
func Local(s Source) (dir string, ok bool) {
	d, ok := s.(*directory)
	if !ok {
		return "", false
	}
	return path.Join(d.path, d.sub), true
}

// Remote is the address of a context, without secrets, where it is not on this
// machine; else "".
func Remote(ref string) string {
	scheme, _, ok := strings.Cut(ref, "://")
	if !IsGit(ref) && (!ok || scheme == "dir" || scheme == "tar") {
		return ""
	}
	return shown(ref)
}

// subPath is a folder of another source.
type subPath struct {
	of  Source
	sub string
}

// Fetch implements Source. Symlinks on the way are followed inside the context.
func (s *subPath) Fetch(ctx context.Context, m Means) (*Context, error) {
	c, err := s.of.Fetch(ctx, m)
	if err != nil {
		return nil, err
	}
	at, f, err := tree.NewView(c.Table).Resolve(s.sub, true)
	if err != nil || f == nil || !f.IsDir() {
		return nil, fmt.Errorf("context %s: folder %s: %w", c.Origin, s.sub, errNoFolder)
	}
	c.Table = &layer.Table{Root: rootOf(c.Table.Lookup(at))}
	return c, nil
}

// rootOf is a directory as the root of a table of its own.
func rootOf(n *layer.Node) *layer.Node {
	out := &layer.Node{Inode: n.Inode}
	for _, c := range n.Children() {
		out.Set(c)
	}
	out.Children() // sorts them, for concurrent readers
	return out
}
