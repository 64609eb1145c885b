package conformance

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/strake-build/strake/integration/buildkit"
	"github.com/strake-build/strake/integration/testkit"
)

// outcome is what a builder made of a case.
type outcome struct {
	failed bool
	log    string
	lint   []string // names of the lint rules that complained, sorted
}

// rules are the frontend's lint rules, by which their complaints are found in a log.
var rules = regexp.MustCompile(`\b(StageNameCasing|FromAsCasing|NoEmptyContinuation|ConsistentInstructionCasing|` +
	`DuplicateStageName|ReservedStageName|JSONArgsRecommended|MaintainerDeprecated|UndefinedArgInFrom|` +
	`WorkdirRelativePath|UndefinedVar|MultipleInstructionsDisallowed|LegacyKeyValueFormat|InvalidBaseImagePlatform|` +
	`RedundantTargetPlatform|SecretsUsedInArgOrEnv|InvalidDefaultArgInFrom|FromPlatformFlagConstDisallowed|` +
	`CopyIgnoredFile|InvalidDefinitionDescription|ExposeProtoCasing|ExposeInvalidFormat)\b`)

func named(text string) []string {
	found := rules.FindAllString(text, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// buildStrake builds with strake and pushes to ref.
func (j *job) buildStrake(ctx context.Context, kit *testkit.Kit, ref, view string) (outcome, error) {
	build := testkit.Build{Context: j.dir, Ref: ref, Args: append(j.strakeFlags(), "--isolation", view), Env: j.Keys["env"]}
	if f := j.One("file"); f != "" {
		build.Dockerfile = filepath.Join(j.dir, f)
	}
	res, err := kit.Run(ctx, build)
	return outcome{failed: res.Code != 0, log: res.Stderr, lint: named(res.Stderr)}, err
}

func (j *job) strakeFlags() []string {
	flags := []string{"--verbosity", "debug"}
	add := func(flag string, values ...string) {
		for _, v := range values {
			flags = append(flags, "--"+flag, v)
		}
	}
	add("build-arg", j.args()...)
	for _, key := range []string{"label", "platform", "target", "network", "hostname", "shm-size", "add-host", "ulimit", "allow"} {
		add(key, j.Keys[key]...)
	}
	for _, s := range j.Keys["secret"] {
		add("secret", j.inDir(s))
	}
	for _, s := range j.Keys["ssh"] {
		add("ssh", j.inDir(s))
	}
	for _, c := range j.Keys["context"] {
		add("build-context", j.namedContext(c))
	}
	for as, digest := range j.layouts {
		add("build-context", as+"=oci-layout://"+filepath.Join(j.dir, as)+"@"+digest)
	}
	if f := j.One("format"); f != "" {
		add("image-format", f)
	}
	if c := j.One("compression"); c != "" {
		add("compression", c)
	}
	if j.One("epoch") != "" {
		flags = append(flags, "--reproducible")
	}
	return flags
}

// inDir makes the file of a secret or key absolute: "…,src=FILE" and "NAME=FILE".
func (j *job) inDir(s string) string {
	i := strings.LastIndex(s, "=")
	before, file := s[:i+1], s[i+1:]
	if _, err := os.Stat(filepath.Join(j.dir, file)); file == "" || err != nil {
		return s
	}
	return before + filepath.Join(j.dir, file)
}

func (j *job) namedContext(c string) string {
	as, where, _ := strings.Cut(j.expand(c), "=")
	if !strings.Contains(where, "://") {
		where = filepath.Join(j.dir, where)
	}
	return as + "=" + where
}

// buildBuildKit builds with BuildKit and pushes to ref.
func (j *job) buildBuildKit(ctx context.Context, d *buildkit.Daemon, ref string) (outcome, error) {
	cmd := d.Command(ctx, append([]string{"build", "--frontend", "dockerfile.v0", "--progress", "rawjson"}, j.buildctlFlags(ref)...)...)
	cmd.Env = append(os.Environ(), j.Keys["env"]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	res := outcome{failed: err != nil, log: out.String(), lint: named(warnings(out.String()))}
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		err = nil
	}
	return res, err
}

// warnings takes the warnings' text out of BuildKit's raw progress.
func warnings(progress string) string {
	var b strings.Builder
	for _, m := range regexp.MustCompile(`"short":"([^"]*)"`).FindAllStringSubmatch(progress, -1) {
		if text, err := base64.StdEncoding.DecodeString(m[1]); err == nil {
			b.Write(text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (j *job) buildctlFlags(ref string) []string {
	dockerfile := filepath.Join(j.dir, "Dockerfile")
	if f := j.One("file"); f != "" {
		dockerfile = filepath.Join(j.dir, f)
	}
	// Results of other cases would bring their files' times and their layers' compression, which no cache key holds.
	flags := []string{
		"--no-cache", "--local", "context=" + j.dir, "--local", "dockerfile=" + filepath.Dir(dockerfile),
		"--opt", "filename=" + filepath.Base(dockerfile), "--output", j.buildctlOutput(ref),
	}
	opt := func(key string, values ...string) {
		if len(values) > 0 {
			flags = append(flags, "--opt", key+"="+strings.Join(values, ","))
		}
	}
	for _, a := range j.args() {
		k, v, ok := strings.Cut(a, "=")
		if !ok {
			v = j.getenv(k)
		}
		opt("build-arg:"+k, v)
	}
	for _, l := range j.Keys["label"] {
		flags = append(flags, "--opt", "label:"+l)
	}
	opt("platform", j.Keys["platform"]...)
	opt("target", j.Keys["target"]...)
	opt("force-network-mode", j.Keys["network"]...)
	opt("hostname", j.Keys["hostname"]...)
	opt("shm-size", j.Keys["shm-size"]...)
	opt("ulimit", j.Keys["ulimit"]...)
	var hosts []string
	for _, h := range j.Keys["add-host"] {
		hosts = append(hosts, strings.Replace(h, ":", "=", 1))
	}
	opt("add-hosts", hosts...)
	return append(flags, j.buildctlSources()...)
}

// getenv is the client's environment: buildctl leaves it to its caller to look up arguments without a value.
func (j *job) getenv(name string) string {
	for _, e := range j.Keys["env"] {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

func (j *job) buildctlSources() []string {
	var flags []string
	for _, a := range j.Keys["allow"] {
		flags = append(flags, "--allow", a)
	}
	for _, s := range j.Keys["secret"] {
		flags = append(flags, "--secret", j.inDir(s))
	}
	for _, s := range j.Keys["ssh"] {
		flags = append(flags, "--ssh", j.inDir(s))
	}
	for _, c := range j.Keys["context"] {
		as, where, _ := strings.Cut(j.namedContext(c), "=")
		if strings.Contains(where, "://") {
			flags = append(flags, "--opt", "context:"+as+"="+where)
			continue
		}
		local := j.Name + "-" + as
		flags = append(flags, "--local", local+"="+where, "--opt", "context:"+as+"=local:"+local)
	}
	for as, digest := range j.layouts {
		flags = append(flags, "--oci-layout", as+"="+filepath.Join(j.dir, as), "--opt", fmt.Sprintf("context:%s=oci-layout:%s@%s", as, as, digest))
	}
	return flags
}

func (j *job) buildctlOutput(ref string) string {
	out := "type=image,push=true,name=" + ref
	if f := j.One("format"); f != "docker" {
		out += ",oci-mediatypes=true"
	} else {
		out += ",oci-mediatypes=false"
	}
	if c := j.One("compression"); c != "" {
		out += ",compression=" + c
	}
	if j.One("epoch") != "" {
		out += ",rewrite-timestamp=true"
	}
	return out
}
