package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/docker/go-units"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/credentials/cloud"
)

// fetchFlags are those of contexts that are not directories of this machine.
func fetchFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "git", Kind: flags.List, Value: "KEY=VALUE", Group: groupBuild, State: flags.Fixed, Doc: "of a context in git: branch=NAME, recurse-submodules=BOOL, depth=N, keep-git-dir=BOOL, insecure-skip-tls=BOOL, single-branch=BOOL", Note: "an unknown key is an error; one commit is fetched, without history"},
		{Name: "context-checksum", Value: "CHECKSUM", Group: groupBuild, Doc: "what the context must be: sha256:HEX of an archive, the commit of a repository"},
		{Name: "context-limit", Kind: flags.List, Value: "KEY=VALUE", Group: groupBuild, Doc: "what a fetched archive may cost at most: bytes=SIZE, entries=N, path=N, depth=N, ratio=N; 0 is no limit"},
		{Name: "bucket", Short: "b", Value: "BUCKET[/OBJECT]", Group: groupBuild, State: flags.Kept, Hidden: true, Doc: "kaniko's older way to name a context in a bucket: of gs:// unless it says another"},
	}
}

// fetchVariables are what the environment says about contexts.
func fetchVariables() []flags.Variable {
	return []flags.Variable{
		{Name: "GIT_TOKEN", State: flags.Kept, Doc: "a token for the context's repository"},
		{Name: "GIT_USERNAME", State: flags.Kept, Doc: "a user of the context's repository"},
		{Name: "GIT_PASSWORD", State: flags.Kept, Doc: "the password of GIT_USERNAME"},
		{Name: "GIT_PULL_METHOD", State: flags.Kept, Doc: "the protocol of git://: https, http or git"},
		{Name: "GIT_SSL_CAINFO", Doc: "a file of certificates to trust for the context's repository"},
		{Name: "GIT_SSL_NO_VERIFY", Doc: "do not verify the certificate of the context's repository"},
		{Name: "SSH_KNOWN_HOSTS", Doc: "a file of known hosts instead of the user's and the machine's"},
		{Name: "S3_ENDPOINT", State: flags.Kept, Doc: "the address of a server that speaks S3"},
		{Name: "S3_FORCE_PATH_STYLE", State: flags.Kept, Doc: "put the bucket into the path at S3_ENDPOINT"},
		{Name: "GOOGLE_APPLICATION_CREDENTIALS", State: flags.Kept, Doc: "a file of credentials for gs://"},
		{Name: "STORAGE_EMULATOR_HOST", Doc: "another server for gs://"},
		{Name: "AZURE_STORAGE_ACCESS_KEY", State: flags.Kept, Doc: "the key of a storage account"},
		{Name: "AZURE_STORAGE_SAS_TOKEN", Doc: "a shared access signature"},
		{Name: "AZURE_STORAGE_SERVICE_ENDPOINT", Doc: "another server for Azure's blob storage"},
	}
}

// sources says where the context and the Dockerfile come from, and reads all
// that the environment has to say about that.
func (p *parser) sources(req *build.Request) {
	ref := p.x.String("context")
	if b := p.x.String("bucket"); b != "" {
		if ref = b; !strings.Contains(b, "://") {
			ref = "gs://" + b
		}
	}
	var stdin io.Reader
	if !isTerminal(os.Stdin) {
		stdin = os.Stdin
	}
	s, err := buildcontext.New(ref, p.contextOptions(ref, stdin))
	if err != nil {
		p.fail("--context: %w", err)
		return
	}
	var local bool
	if req.Context, local = buildcontext.Local(s); !local {
		req.Source = s
	}
	piped := ref == "tar://stdin" || ref == "tar://-"
	if !local {
		req.Remote = append(req.Remote, elsewhere(ref)...)
	}
	if d, ok := buildcontext.Dockerfile(req.Dockerfile, stdin); ok {
		req.DockerfileSource = d
		req.Remote = append(req.Remote, elsewhere(req.Dockerfile)...)
		if req.Dockerfile == "-" && piped {
			p.fail("--dockerfile -: standard input is the context already")
		}
		piped = piped || req.Dockerfile == "-"
	}
	if piped && p.x.Bool("print-plan") {
		p.fail("--print-plan: standard input can be read once, and the build needs it; --dryrun prints the plan alone")
	}
	if piped && stdin == nil {
		p.fail("standard input is a terminal: pipe into it; docker run wants -i for that, and no -t")
	}
	if strings.HasPrefix(ref, "ssh://") || strings.HasPrefix(ref, "git@") || strings.HasPrefix(ref, "git+ssh://") {
		p.sshKeys(req)
	}
}

// elsewhere is the address, if it is not on this machine.
func elsewhere(ref string) []string {
	if address := buildcontext.Remote(ref); address != "" {
		return []string{address}
	}
	return nil
}

func isTerminal(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0 && fi.Mode()&os.ModeDevice != 0 && !isNull(fi)
}

// isNull tells whether fi is /dev/null, which is a character device, too.
func isNull(fi fs.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(fi, null)
}

func (p *parser) contextOptions(ref string, stdin io.Reader) buildcontext.Options {
	o := buildcontext.Options{
		SubPath: p.x.String("context-sub-path"), Checksum: p.x.String("context-checksum"), Limits: p.contextLimits(), Stdin: stdin,
		Git: p.git(ref),
		S3: buildcontext.S3{
			Endpoint: os.Getenv("S3_ENDPOINT"), PathStyle: p.variable("S3_FORCE_PATH_STYLE"), Config: awsConfig,
		},
		Azure: buildcontext.Azure{
			Key: os.Getenv("AZURE_STORAGE_ACCESS_KEY"), SAS: os.Getenv("AZURE_STORAGE_SAS_TOKEN"),
			Endpoint: os.Getenv("AZURE_STORAGE_SERVICE_ENDPOINT"),
			ClientID: os.Getenv("AZURE_CLIENT_ID"), TenantID: os.Getenv("AZURE_TENANT_ID"), ClientSecret: os.Getenv("AZURE_CLIENT_SECRET"),
			FederatedTokenFile: os.Getenv("AZURE_FEDERATED_TOKEN_FILE"),
		},
		GCS: buildcontext.GCS{MetadataHost: os.Getenv("GCE_METADATA_HOST")},
	}
	if e := os.Getenv("STORAGE_EMULATOR_HOST"); e != "" {
		if o.GCS.Endpoint = e; !strings.Contains(e, "://") {
			o.GCS.Endpoint = "http://" + e // as Google's own libraries read it
		}
	}
	if strings.HasPrefix(ref, "gs://") || strings.HasPrefix(ref, "gcs://") {
		o.GCS.Credentials = p.googleCredentials()
	}
	return o
}

// variable reads a switch of the environment.
func (p *parser) variable(name string) bool {
	v := os.Getenv(name)
	if v == "" {
		return false
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		p.fail("%s=%s: not true or false", name, v)
	}
	return on
}

// googleCredentials is the file of the application default credentials.
func (p *parser) googleCredentials() []byte {
	file := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
	named := file != ""
	if !named {
		home, err := os.UserConfigDir()
		if err != nil {
			return nil
		}
		file = filepath.Join(home, "gcloud", "application_default_credentials.json")
	}
	data, err := os.ReadFile(file)
	if err != nil && (named || !errors.Is(err, fs.ErrNotExist)) {
		p.fail("GOOGLE_APPLICATION_CREDENTIALS: %w", err)
	}
	return data
}

// awsConfig is the default chain of Amazon's SDK, whose last link is not waited
// for where there is no such cloud.
func awsConfig(ctx context.Context) (aws.Config, error) {
	near := imds.New(imds.Options{
		HTTPClient: &http.Client{Timeout: 1500 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}},
		Retryer:    retry.AddWithMaxAttempts(aws.NopRetryer{}, 1),
	})
	// Metadata services are never asked through a proxy; the SDK's own client would ask it for those of ECS and EKS.
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.Proxy = cloud.Direct(http.ProxyFromEnvironment) })
	return config.LoadDefaultConfig(ctx, config.WithHTTPClient(client),
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = near }),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = client }),
	)
}

// git reads --git, and what the environment says about repositories where ref is one.
func (p *parser) git(ref string) (g buildcontext.Git) {
	if buildcontext.IsGit(ref) {
		g = p.gitEnvironment()
	}
	for _, f := range p.x.StringSlice("git") {
		for one := range strings.SplitSeq(f, ",") {
			if err := gitOption(&g, one); err != nil {
				p.fail("--git %s: %w", one, err)
			}
		}
	}
	return g
}

func (p *parser) gitEnvironment() buildcontext.Git {
	g := buildcontext.Git{
		Method: os.Getenv("GIT_PULL_METHOD"), Token: os.Getenv("GIT_TOKEN"), User: os.Getenv("GIT_USERNAME"), Password: os.Getenv("GIT_PASSWORD"),
		SkipTLSVerify: p.variable("GIT_SSL_NO_VERIFY"), SSH: "default", KnownHosts: p.knownHosts(),
		KeepGitDir: slices.Contains(p.x.StringSlice("build-arg"), "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"),
	}
	if file := os.Getenv("GIT_SSL_CAINFO"); file != "" {
		ca, err := os.ReadFile(file)
		if err != nil {
			p.fail("GIT_SSL_CAINFO: %w", err)
		}
		g.CA = ca
	}
	return g
}

func gitOption(g *buildcontext.Git, s string) (err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return errors.New("want KEY=VALUE")
	}
	var alone, submodules bool
	switches := map[string]*bool{
		"single-branch":      &alone, // never is more fetched than one
		"recurse-submodules": &submodules, "insecure-skip-tls": &g.SkipTLSVerify, "keep-git-dir": &g.KeepGitDir,
	}
	switch on, known := switches[key]; {
	case known:
		if *on, err = strconv.ParseBool(value); err != nil {
			return errors.New("want true or false")
		}
		if key == "recurse-submodules" {
			g.Submodules = &submodules
		}
	case key == "branch":
		g.Branch = value
	case key == "depth":
		if g.Depth, err = strconv.Atoi(value); err != nil || g.Depth < 0 {
			return errors.New("want a number of commits")
		}
	default:
		return errors.New("no such key; there are branch, depth, insecure-skip-tls, keep-git-dir, recurse-submodules and single-branch")
	}
	return nil
}

// contextLimits reads --context-limit.
func (p *parser) contextLimits() (l buildcontext.Limits) {
	fields := map[string]*int64{"bytes": &l.Bytes, "entries": &l.Entries, "path": &l.Path, "depth": &l.Depth, "ratio": &l.Ratio}
	for _, f := range p.x.StringSlice("context-limit") {
		for one := range strings.SplitSeq(f, ",") {
			key, value, _ := strings.Cut(one, "=")
			field, ok := fields[key]
			if !ok {
				p.fail("--context-limit %s: want bytes=, entries=, path=, depth= or ratio=", one)
				continue
			}
			n, err := units.RAMInBytes(value)
			if err != nil || n < 0 {
				p.fail("--context-limit %s: %q is no number", one, value)
			}
			if *field = n; n == 0 {
				*field = -1
			}
		}
	}
	return l
}

// sshKeys finds the user's keys for a repository where --ssh names none.
func (p *parser) sshKeys(req *build.Request) {
	if slices.ContainsFunc(p.x.StringSlice("ssh"), func(s string) bool { return s == "default" || strings.HasPrefix(s, "default=") }) {
		return
	}
	way := "default"
	if os.Getenv("SSH_AUTH_SOCK") == "" {
		keys := ownKeys()
		if len(keys) == 0 {
			return
		}
		way += "=" + strings.Join(keys, ",")
	}
	found, err := parseAgents([]string{way})
	if err != nil {
		p.fail("keys for the context: %w", err)
		return
	}
	req.ContextSSH = found
}

// ownKeys are the user's keys that need no passphrase.
func ownKeys() (keys []string) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		f := filepath.Join(home, ".ssh", name)
		if _, err := openAgent(f); err == nil {
			keys = append(keys, f)
		}
	}
	return keys
}

// knownHosts is what ssh would know: the user's file and the machine's, or the
// one that SSH_KNOWN_HOSTS names.
func (p *parser) knownHosts() string {
	files := []string{"/etc/ssh/ssh_known_hosts"}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".ssh", "known_hosts"))
	}
	named := os.Getenv("SSH_KNOWN_HOSTS")
	if named != "" {
		files = []string{named}
	}
	var all strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			if named != "" || !errors.Is(err, fs.ErrNotExist) {
				p.fail("known hosts: %w", err)
			}
			continue
		}
		fmt.Fprintf(&all, "%s\n", data)
	}
	return all.String()
}
