// Package contexts builds from contexts on real servers: object stores, git's own servers, sshd.
package contexts

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/strake-build/strake/integration/testkit"
)

var kit *testkit.Kit

func TestMain(m *testing.M) {
	ctx := context.Background()
	if _, err := testkit.Script(ctx, "setup", "contexts"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testkit.Main(m, func(k *testkit.Kit) { kit = k }, "busybox:latest")
}

// source is the context that is put everywhere, as a directory and as an archive.
func source(t *testing.T) (dir string, archive []byte) {
	t.Helper()
	dir = testkit.Files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY . /all/\n", "deep/er/file": "content", "other": "x"})
	out, err := exec.Command("tar", "czf", "-", "-C", dir, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return dir, out
}

// builds builds from an address, and looks at what came.
func builds(t *testing.T, ref string, env []string, args ...string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.tar")
	code, text := execute(t, nil, env, append([]string{"--context", ref, "--tar-path", out, "--no-push"}, args...)...)
	if code != 0 {
		t.Errorf("%s: exit code %d\n%s", ref, code, text)
		return
	}
	if got, want := layerOf(t, out), "all/ all/Dockerfile all/deep/ all/deep/er/ all/deep/er/file all/other"; got != want {
		t.Errorf("%s: the layer has %q", ref, got)
	}
}

// layerOf lists the layer in a saved image.
func layerOf(t *testing.T, file string) string {
	t.Helper()
	img, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err == io.EOF {
			return strings.Join(names, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// refused builds from an address that must fail.
func refused(t *testing.T, wantCode int, words, ref string, env []string, args ...string) {
	t.Helper()
	code, text := execute(t, nil, env, append([]string{"--context", ref, "--no-push"}, args...)...)
	if code != wantCode || !strings.Contains(text, words) {
		t.Errorf("%s: exit code %d, want %d and %q\n%s", ref, code, wantCode, words, text)
	}
}

func execute(t *testing.T, stdin io.Reader, env []string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), kit.Executor, append(args, "--kaniko-dir", filepath.Join(kit.Dir, "state"))...)
	cmd.Stdin = stdin
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "SSH_AUTH_SOCK=", "AWS_EC2_METADATA_DISABLED=true")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestStandardInput(t *testing.T) {
	_, archive := source(t)
	code, text := execute(t, bytes.NewReader(archive), nil, "--context", "tar://stdin", "--no-push")
	if code != 0 {
		t.Errorf("exit code %d\n%s", code, text)
	}
	code, text = execute(t, bytes.NewReader(archive[:len(archive)/2]), nil, "--context", "tar://stdin", "--no-push")
	if code != 65 {
		t.Errorf("half an archive: exit code %d\n%s", code, text)
	}
}

func TestS3(t *testing.T) {
	_, archive := source(t)
	root, port := t.TempDir(), testkit.FreePort(t)
	for _, d := range []string{"bucket/deep", "iam"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Serve(t, port, []string{"ROOT_ACCESS_KEY=AKID", "ROOT_SECRET_KEY=SECRET"}, testkit.ObjectStore(t, "versitygw"),
		"--port", "127.0.0.1:"+port, "--region", "eu-central-1", "posix", "--nometa", filepath.Join(root))
	for _, name := range []string{"context.tar.gz", "deep/with space+ü%.bin"} {
		if err := os.WriteFile(filepath.Join(root, "bucket", name), archive, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"S3_ENDPOINT=http://127.0.0.1:" + port, "S3_FORCE_PATH_STYLE=true", "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKID"}
	good := append(env, "AWS_SECRET_ACCESS_KEY=SECRET")
	builds(t, "s3://bucket", good)
	builds(t, "s3://bucket/deep/with space+ü%.bin", good)
	refused(t, 66, "NoSuchKey", "s3://bucket/none", good)
	refused(t, 66, "NoSuchBucket", "s3://nobucket/none", good)
	refused(t, 77, "SignatureDoesNotMatch", "s3://bucket/context.tar.gz", append(env, "AWS_SECRET_ACCESS_KEY=WRONG"))
	refused(t, 77, "there are no credentials: set AWS_ACCESS_KEY_ID", "s3://bucket/context.tar.gz", append(env, "AWS_ACCESS_KEY_ID="))
	// From a file, as pods have it.
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[ci]\naws_access_key_id = AKID\naws_secret_access_key = SECRET\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	builds(t, "s3://bucket", append(env, "AWS_ACCESS_KEY_ID=", "AWS_SHARED_CREDENTIALS_FILE="+file, "AWS_PROFILE=ci"))
}

func TestGoogleCloudStorage(t *testing.T) {
	_, archive := source(t)
	root, port := t.TempDir(), testkit.FreePort(t)
	if err := os.MkdirAll(filepath.Join(root, "bucket", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"context.tar.gz", "deep/with space"} {
		if err := os.WriteFile(filepath.Join(root, "bucket", name), archive, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Serve(t, port, nil, testkit.ObjectStore(t, "fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-data", root)
	env := []string{"STORAGE_EMULATOR_HOST=127.0.0.1:" + port}
	builds(t, "gs://bucket", env)
	builds(t, "gs://bucket/deep/with space", env)
	refused(t, 66, "404", "gs://bucket/none", env)
}

func TestAzure(t *testing.T) {
	_, archive := source(t)
	root, port := t.TempDir(), testkit.FreePort(t)
	key := base64.StdEncoding.EncodeToString([]byte("key"))
	testkit.Serve(t, port, []string{"AZURITE_ACCOUNTS=acct:" + key}, testkit.ObjectStore(t, "azurite"),
		"--blobHost", "127.0.0.1", "--blobPort", port, "--location", root, "--skipApiVersionCheck", "--disableTelemetry")
	base := "http://127.0.0.1:" + port + "/acct"
	sas := accountSAS("acct", []byte("key"))
	send(t, http.MethodPut, base+"/box?restype=container&"+sas, nil, nil)
	send(t, http.MethodPut, base+"/box/dir/context.tar.gz?"+sas, archive, http.Header{"X-Ms-Blob-Type": {"BlockBlob"}})
	env := []string{"AZURE_STORAGE_SERVICE_ENDPOINT=" + base}
	const ref = "https://acct.blob.core.windows.net/box/dir/context.tar.gz"
	builds(t, ref, append(env, "AZURE_STORAGE_ACCESS_KEY="+key))
	builds(t, ref, append(env, "AZURE_STORAGE_SAS_TOKEN="+sas))
	builds(t, ref+"?"+sas, env)
	refused(t, 66, "BlobNotFound", "https://acct.blob.core.windows.net/box/none", append(env, "AZURE_STORAGE_ACCESS_KEY="+key))
	refused(t, 77, "403", ref, append(env, "AZURE_STORAGE_ACCESS_KEY="+base64.StdEncoding.EncodeToString([]byte("wrong"))))
	refused(t, 77, "403", ref+"?"+strings.Replace(sas, "sig=", "sig=A", 1), env)
}

// accountSAS signs a shared access signature for everything
// (https://learn.microsoft.com/rest/api/storageservices/create-account-sas).
func accountSAS(account string, key []byte) string {
	const version, perms, services, kinds = "2020-08-04", "rwc", "b", "co"
	end := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n%s\n%s\n%s\n\n%s\n\n\n%s\n", account, perms, services, kinds, end, version)
	sig := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	escape := strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D", ":", "%3A")
	return fmt.Sprintf("sv=%s&ss=%s&srt=%s&sp=%s&se=%s&sig=%s", version, services, kinds, perms, escape.Replace(end), escape.Replace(sig))
}

func send(t *testing.T, method, url string, body []byte, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("X-Ms-Version", "2020-08-04")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: %s\n%s", method, url, resp.Status, text)
	}
}

// repository makes a bare repository from the context.
func repository(t *testing.T) (root string, env []string) {
	t.Helper()
	dir, _ := source(t)
	root = t.TempDir()
	env = []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@y", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@y"}
	testkit.Must(t, env, "git", "-C", dir, "init", "-q", "-b", "main")
	testkit.Must(t, env, "git", "-C", dir, "add", "-A")
	testkit.Must(t, env, "git", "-C", dir, "commit", "-q", "-m", "first")
	testkit.Must(t, env, "git", "clone", "-q", "--bare", dir, filepath.Join(root, "app.git"))
	return root, env
}

func TestGitDaemon(t *testing.T) {
	root, env := repository(t)
	port := testkit.FreePort(t)
	testkit.Serve(t, port, env, "git", "daemon", "--listen=127.0.0.1", "--port="+port, "--export-all", "--base-path="+root, root)
	builds(t, "git://127.0.0.1:"+port+"/app.git", []string{"GIT_PULL_METHOD=git"})
	builds(t, "git://127.0.0.1:"+port+"/app.git#refs/heads/main", []string{"GIT_PULL_METHOD=git"})
	refused(t, 69, "127.0.0.1", "git://127.0.0.1:"+port+"/app.git", nil) // https is not spoken there
}

func TestGitHTTPBackend(t *testing.T) {
	root, env := repository(t)
	backend := &cgi.Handler{
		Path: filepath.Join(testkit.Must(t, env, "git", "--exec-path"), "git-http-backend"),
		Env:  append(env, "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1"),
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	builds(t, s.URL+"/app.git#main", []string{"GIT_USERNAME=me", "GIT_PASSWORD=secret"})
	builds(t, strings.Replace(s.URL, "http://", "http://me:secret@", 1)+"/app.git", nil)
	refused(t, 77, "set GIT_TOKEN", s.URL+"/app.git", nil)
	refused(t, 77, "authentication required", s.URL+"/app.git", []string{"GIT_TOKEN=" + hex.EncodeToString([]byte("wrong"))})
}

func TestSSH(t *testing.T) {
	root, env := repository(t)
	dir, port := t.TempDir(), testkit.FreePort(t)
	for _, key := range []string{"host", "user", "stranger"} {
		testkit.Must(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	config := fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\nPidFile none\nPasswordAuthentication no\nUsePAM no\nPermitRootLogin yes\nSetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*\n",
		port, dir, dir)
	file := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd's own wish
		t.Skipf("sshd cannot run here: %v", err)
	}
	testkit.Serve(t, port, env, "/usr/sbin/sshd", "-D", "-e", "-f", file)
	host := strings.Fields(read("host.pub"))
	known := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(known, []byte(fmt.Sprintf("[127.0.0.1]:%s %s %s\n", port, host[0], host[1])), 0o600); err != nil {
		t.Fatal(err)
	}
	ref := "ssh://root@127.0.0.1:" + port + root + "/app.git"
	builds(t, ref, []string{"SSH_KNOWN_HOSTS=" + known}, "--ssh", "default="+filepath.Join(dir, "user"))
	refused(t, 77, "127.0.0.1", ref, []string{"SSH_KNOWN_HOSTS=" + known}, "--ssh", "default="+filepath.Join(dir, "stranger"))
	refused(t, 70, "host key", ref, nil, "--ssh", "default="+filepath.Join(dir, "user"))
	// The user's own files, as they are mounted into pods.
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"id_ed25519": "user", "known_hosts": "known_hosts"} {
		if err := os.WriteFile(filepath.Join(home, ".ssh", name), []byte(read(from)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	builds(t, ref, []string{"HOME=" + home})
}
