package registries

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExecutor: the executor pushes to a registry with HTTPS and passwords, by every way to trust it and to log in that
// pipelines use, and prints no password.
func TestExecutor(t *testing.T) {
	w := newWorld(t)
	host := startDistribution(t, w, distributions["v3"], setting{tls: true, basic: true})
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	config := `{"auths":{"` + host + `":{"auth":"` + auth + `"}}}`
	scoped := `{"auths":{"` + host + `":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("x:y")) + `"},"` + host + `/org":{"auth":"` + auth + `"}}}`
	variable := "KANIKO_" + strings.NewReplacer(".", "_", ":", "_").Replace(host)
	ca := []string{"SSL_CERT_FILE=" + w.ca.crt}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.json"), []byte(config))
	write(t, filepath.Join(dir, "docker-credential-test"), []byte("#!/bin/sh\necho '{\"Username\":\""+user+"\",\"Secret\":\""+password+"\"}'\n"))
	if err := os.Chmod(filepath.Join(dir, "docker-credential-test"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		env, flags []string
		ok         bool
	}{
		"DOCKER_CONFIG, SSL_CERT_FILE":  {append(ca, "DOCKER_CONFIG="+dir), nil, true},
		"SSL_CERT_DIR":                  {[]string{"SSL_CERT_DIR=" + filepath.Dir(w.ca.crt), "SSL_CERT_FILE=/none", "DOCKER_CONFIG=" + dir}, nil, true},
		"--registry-certificate":        {[]string{"DOCKER_CONFIG=" + dir}, []string{"--registry-certificate", host + "=" + w.ca.crt}, true},
		"--skip-tls-verify-registry":    {[]string{"DOCKER_CONFIG=" + dir}, []string{"--skip-tls-verify-registry", host}, true},
		"DOCKER_AUTH_CONFIG":            {append(ca, "DOCKER_AUTH_CONFIG="+config), nil, true},
		"path scope":                    {append(ca, "DOCKER_AUTH_CONFIG="+scoped), nil, true},
		"REGISTRY_AUTH_FILE":            {append(ca, "REGISTRY_AUTH_FILE="+filepath.Join(dir, "config.json")), nil, true},
		"credential helper":             {append(ca, `DOCKER_AUTH_CONFIG={"credHelpers":{"`+host+`":"test"}}`, "PATH="+dir+":"+os.Getenv("PATH")), nil, true},
		"KANIKO_<HOST>_USER":            {append(ca, variable+"_USER="+user, variable+"_PASSWORD="+password), nil, true},
		"REGISTRY_USERNAME":             {append(ca, "REGISTRY_USERNAME="+user, "REGISTRY_PASSWORD="+password), nil, true},
		"CI_REGISTRY":                   {append(ca, "CI_REGISTRY="+host, "CI_REGISTRY_USER="+user, "CI_REGISTRY_PASSWORD="+password), nil, true},
		"--credential-helpers, none":    {append(ca, variable+"_USER="+user, variable+"_PASSWORD="+password), []string{"--credential-helpers="}, false},
		"--credential-helpers, another": {append(ca, variable+"_USER="+user, variable+"_PASSWORD="+password), []string{"--credential-helpers", "gitlab"}, false},
		"another port":                  {append(ca, "KANIKO_127_0_0_1_USER="+user, "KANIKO_127_0_0_1_PASSWORD="+password), nil, false},
		"untrusted":                     {[]string{"DOCKER_CONFIG=" + dir}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := pushWith(t, host+"/org/app:1", tt.env, tt.flags)
			if tt.ok != (err == nil) {
				t.Errorf("%v: %s", err, out)
			}
			if !tt.ok && !strings.Contains(out, host) {
				t.Errorf("no registry in %s", out)
			}
			if strings.Contains(out, password) || strings.Contains(out, auth) {
				t.Errorf("the password in %s", out)
			}
		})
	}
}

// pushWith builds an image of one file and pushes it, with nothing but env in the environment.
func pushWith(t *testing.T, dest string, env, flags []string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /\n"))
	cmd := exec.CommandContext(t.Context(), executor, append([]string{"-c", dir, "-d", dest}, flags...)...)
	cmd.Env = append([]string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
