package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/image-spec/schema"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strake-build/strake/manifest/internal/sigstoretest"
	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// scriptCommand is a word of the scripts.
type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// stage is what a script has around it.
type stage struct {
	testing.TB
	registries map[string]*registrytest.Server // by the variable with the address
}

type stageKey struct{}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

// commands are the words that the scripts have besides testscript's own.
func commands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"exits":    exits,
		"image":    image,
		"attested": attested,
		"save":     save,
		"registry": startRegistry,
		"sigstore": startSigstore,
		"fault":    fault,
		"heal":     heal,
		"auth":     auth,
		"asked":    asked,
		"tag":      tag,
		"valid":    valid,
		"pack":     pack,
	}
}

func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func host(ts *testscript.TestScript, name string) *registrytest.Server {
	s := stageOf(ts).registries[name]
	if s == nil {
		ts.Fatalf("no registry %s", name)
	}
	return s
}

// hosted splits "NAME/repo:tag" into the registry of the variable NAME and the
// rest; without a registry, it is REGISTRY's.
func hosted(ts *testscript.TestScript, ref string) (*registrytest.Server, string) {
	for name, s := range stageOf(ts).registries {
		if rest, ok := strings.CutPrefix(ref, name+"/"); ok {
			return s, rest
		}
	}
	return host(ts, "REGISTRY"), ref
}

// exits CODE PROGRAM [ARG…] runs a program that must end with this code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "exits CODE PROGRAM [ARG…]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// built makes an image whose content depends on nothing but its arguments.
func built(ts *testscript.TestScript, platform string, words []string) v1.Image {
	p, err := index.ParsePlatform(platform)
	ts.Check(err)
	manifestType, configType, layerType := types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer
	conf := &v1.ConfigFile{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, Config: v1.Config{Labels: map[string]string{}}}
	for _, w := range words {
		if w == "docker" {
			manifestType, configType, layerType = types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer
			continue
		}
		k, v, ok := strings.Cut(w, "=")
		need(ts, ok, "LABEL=VALUE")
		conf.Config.Labels[k] = v
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, manifestType), configType)
	conf.RootFS.Type = "layers"
	img, err = mutate.ConfigFile(img, conf)
	ts.Check(err)
	img, err = mutate.Append(img, mutate.Addendum{Layer: static.NewLayer([]byte(platform+strings.Join(words, " ")), layerType), MediaType: layerType})
	ts.Check(err)
	return img
}

// image VAR REF PLATFORM [docker] [LABEL=VALUE…] puts an image into a registry
// and its digest into $VAR.
func image(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 2, "image VAR REF PLATFORM [docker] [LABEL=VALUE…]")
	s, ref := hosted(ts, args[1])
	ts.Setenv(args[0], s.Push(stageOf(ts), ref, built(ts, args[2], args[3:])).String())
}

// attested VAR REF PLATFORM… puts an index into a registry, of images with
// attestations as BuildKit makes them, and its digest into $VAR.
func attested(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 2, "attested VAR REF PLATFORM…")
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range args[2:] {
		img := built(ts, platform, nil)
		d, err := img.Digest()
		ts.Check(err)
		p, err := index.ParsePlatform(platform)
		ts.Check(err)
		att := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		att, err = mutate.Append(att, mutate.Addendum{Layer: static.NewLayer([]byte(`{"about":"`+d.String()+`"}`), "application/vnd.in-toto+json"), MediaType: "application/vnd.in-toto+json"})
		ts.Check(err)
		idx = mutate.AppendManifests(idx,
			mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p, MediaType: types.OCIManifestSchema1}},
			mutate.IndexAddendum{Add: att, Descriptor: v1.Descriptor{
				MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
				Annotations: map[string]string{index.AnnotationReferenceType: "attestation-manifest", index.AnnotationReferenceDigest: d.String()},
			}})
	}
	s, ref := hosted(ts, args[1])
	ts.Setenv(args[0], s.Push(stageOf(ts), ref, idx).String())
}

// save oci|docker PATH NAME PLATFORM saves an image as an OCI layout, or as
// docker save does.
func save(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 4, "save oci|docker PATH NAME PLATFORM")
	img := built(ts, args[3], nil)
	if args[0] == "docker" {
		t, err := name.NewTag(args[2])
		ts.Check(err)
		img = registrytest.Image(stageOf(ts), args[3])
		ts.Check(tarball.WriteToFile(ts.MkAbs(args[1]), t, img))
		return
	}
	l, err := layout.FromPath(ts.MkAbs(args[1]))
	if err != nil {
		l, err = layout.Write(ts.MkAbs(args[1]), empty.Index)
	}
	ts.Check(err)
	ts.Check(l.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": args[2]})))
}

// pack DIR FILE makes an archive of a directory.
func pack(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "pack DIR FILE")
	ts.Check(exec.Command("tar", "-C", ts.MkAbs(args[0]), "-cf", ts.MkAbs(args[1]), ".").Run())
}

// registry NAME starts another registry, whose address is then in $NAME.
func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "registry NAME")
	s := registrytest.New(stageOf(ts))
	ts.Setenv(args[0], s.Host)
	stageOf(ts).registries[args[0]] = s
}

// sigstore starts a Sigstore. $SIGSTORE is its Fulcio and Rekor, $TSA its
// timestamp authority, $TOKEN an identity that it knows, and trusted_root.json
// what to trust.
func startSigstore(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 0, "sigstore")
	s := sigstoretest.New(stageOf(ts))
	ts.Setenv("SIGSTORE", s.URL)
	ts.Setenv("TSA", s.Timestamps())
	ts.Setenv("TOKEN", s.Token(map[string]any{"ref": "refs/heads/main"}))
	s.TrustedRootFile(ts.MkAbs("."))
}

// fault METHOD PATH STATUS [TIMES [SKIP [BODY]]] has requests answered so.
func fault(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 2, "fault METHOD PATH STATUS [TIMES [SKIP [BODY]]]")
	f := registrytest.Fault{Method: args[0], Path: args[1]}
	if f.Method == "*" {
		f.Method = ""
	}
	for i, to := range []*int{&f.Status, &f.Times, &f.Skip} {
		if len(args) > i+2 {
			n, err := strconv.Atoi(args[i+2])
			ts.Check(err)
			*to = n
		}
	}
	if len(args) > 5 {
		f.Body = args[5]
	}
	host(ts, "REGISTRY").Fail(f)
}

// heal ends all faults.
func heal(ts *testscript.TestScript, _ bool, _ []string) { host(ts, "REGISTRY").Heal() }

// auth NAME USER PASSWORD [bearer] has a registry ask for credentials.
func auth(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 2, "auth NAME USER PASSWORD [bearer]")
	host(ts, args[0]).Require(registrytest.Auth{User: args[1], Password: args[2], Bearer: len(args) > 3})
}

// asked NAME METHOD PATH COUNT counts the requests since the last time.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 4, "asked NAME METHOD PATH COUNT")
	s := host(ts, args[0])
	n := s.Count(strings.TrimPrefix(args[1], "*"), args[2])
	if strconv.Itoa(n) != args[3] {
		ts.Fatalf("%d requests %s %s, want %s", n, args[1], args[2], args[3])
	}
	s.Forget()
}

// tag REF DIGEST|none checks what a tag names.
func tag(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "tag REF DIGEST|none")
	s, ref := hosted(ts, args[0])
	r, err := name.ParseReference(s.Ref(ref), name.Insecure)
	ts.Check(err)
	got := "none"
	d, err := remote.Head(r, remote.WithTransport(s.Transport()))
	if err == nil {
		got = d.Digest.String()
	}
	if got != args[1] {
		ts.Fatalf("%s names %s, want %s", args[0], got, args[1])
	}
}

// valid FILE checks a manifest or index against the image specification's schema.
func valid(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "valid FILE")
	var b []byte
	if args[0] == "stdout" {
		b = []byte(ts.ReadFile("stdout"))
	} else {
		var err error
		b, err = os.ReadFile(filepath.Clean(ts.MkAbs(args[0])))
		ts.Check(err)
	}
	ts.Check(validate(b))
}

// validate judges a document by the schema of its media type.
func validate(b []byte) error {
	var m struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	v := schema.ValidatorMediaTypeImageIndex
	switch m.MediaType {
	case string(types.OCIImageIndex):
	case string(types.OCIManifestSchema1):
		v = schema.ValidatorMediaTypeManifest
	default:
		return fmt.Errorf("no schema for %q", m.MediaType)
	}
	return v.Validate(bytes.NewReader(b))
}
