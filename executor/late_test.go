package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/strake-build/strake/shared/disposable"
)

// TestLasting has variables and HOME name files through links, as in the official image, and in another.
func TestLasting(t *testing.T) {
	for _, official := range []bool{true, false} {
		top, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for variable := range lateFiles() {
			t.Setenv(variable, "")
		}
		real, link := filepath.Join(top, "real"), filepath.Join(top, "link")
		if err := os.MkdirAll(filepath.Join(real, ".aws"), 0o755); err != nil {
			t.Fatal(err)
		}
		files := map[string]bool{".aws/credentials": true, "token": true, disposable.Marker: official}
		for name, there := range files {
			if !there {
				continue
			}
			if err := os.WriteFile(filepath.Join(real, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(real, link); err != nil {
			t.Fatal(err)
		}
		t.Setenv("HOME", link)
		t.Setenv("AZURE_FEDERATED_TOKEN_FILE", filepath.Join(link, "token"))
		keep, err := lasting(real)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(keep)
		want := map[string]string{"AZURE_FEDERATED_TOKEN_FILE": filepath.Join(link, "token"), "AWS_SHARED_CREDENTIALS_FILE": "", "AWS_CONFIG_FILE": ""}
		var wantKept []string
		if official {
			wantKept = []string{filepath.Join(real, ".aws/credentials"), filepath.Join(real, "token")}
			want["AZURE_FEDERATED_TOKEN_FILE"], want["AWS_SHARED_CREDENTIALS_FILE"] = wantKept[1], wantKept[0]
		}
		if !slices.Equal(keep, wantKept) {
			t.Errorf("official %v: %v is kept, want %v", official, keep, wantKept)
		}
		for variable, file := range want {
			if got := os.Getenv(variable); got != file {
				t.Errorf("official %v: %s is %q, want %q", official, variable, got, file)
			}
		}
	}
}

// TestLastingFederation has the token of a workload identity federation below a link.
func TestLastingFederation(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for variable := range lateFiles() {
		t.Setenv(variable, "")
	}
	t.Setenv("HOME", "")
	if err := os.Mkdir(filepath.Join(top, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(top, "key.json")
	for name, text := range map[string]string{
		disposable.Marker: "", "real/token": "token",
		"key.json": `{"type":"external_account","audience":"a","credential_source":{"file":"` + top + `/link/token","format":{"type":"text"}}}`,
	} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	keep, err := lasting(top)
	if err != nil || !slices.Equal(keep, []string{file, filepath.Join(top, "real/token")}) {
		t.Fatal(keep, err)
	}
	want := `{"audience":"a","credential_source":{"file":"` + top + `/real/token","format":{"type":"text"}},"type":"external_account"}`
	for range 2 { // each reader begins at its beginning
		if got, err := os.ReadFile(os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")); err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	// Everything else is left as it is.
	for _, text := range []string{"x", "{}", `{"type":"service_account"}`, `{"type":"external_account"}`, `{"type":"external_account","credential_source":{"url":"http://x"}}`, `{"type":"external_account","credential_source":[]}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
		if _, err := lasting(top); err != nil || os.Getenv("GOOGLE_APPLICATION_CREDENTIALS") != file {
			t.Errorf("%s: %v, %s", text, err, os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"))
		}
	}
}
