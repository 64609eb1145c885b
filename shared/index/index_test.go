package index_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/index"
)

func platform(t testing.TB, s string) *v1.Platform {
	t.Helper()
	p, err := index.ParsePlatform(s)
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

// entry is an image for a platform, whose digest is made of digit.
func entry(t testing.TB, p, digit string) index.Entry {
	t.Helper()
	return index.Entry{
		Source: p + "#" + digit, Config: platform(t, p),
		Descriptor: v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)}},
	}
}

func attestation(about index.Entry, digit string) index.Entry {
	return index.Entry{Source: "attestation", Descriptor: v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Size: 1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)},
		Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{index.AnnotationReferenceType: "attestation-manifest", index.AnnotationReferenceDigest: about.Descriptor.Digest.String()},
	}}
}

func TestSameInAnyOrder(t *testing.T) {
	amd, arm := entry(t, "linux/amd64", "1"), entry(t, "linux/arm64/v8", "2")
	all := []index.Entry{amd, arm, entry(t, "linux/arm/v6", "3"), entry(t, "windows/amd64:10.0.20348.1", "4"), entry(t, "windows/amd64:10.0.17763.1", "5"), attestation(arm, "6"), attestation(amd, "7")}
	want := ""
	for range 50 {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		idx, err := index.Make(append([]index.Entry(nil), all...), index.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = string(idx.Raw)
		}
		if string(idx.Raw) != want {
			t.Fatalf("got\n%s\nand\n%s", idx.Raw, want)
		}
	}
	var order []string
	idx, _ := index.Make(all, index.Options{})
	for _, e := range idx.Entries {
		order = append(order, e.Descriptor.Digest.Hex[:1])
	}
	// Images by platform, then attestations in the order of their images.
	if got := strings.Join(order, ""); got != "1325476" {
		t.Errorf("order %s\n%s", got, idx.Raw)
	}
}

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"linux/arm64/v8": "linux/arm64", "linux/aarch64": "linux/arm64", "linux/arm64/v9": "linux/arm64/v9",
		"linux/arm": "linux/arm/v7", "linux/armhf": "linux/arm/v7", "linux/armel": "linux/arm/v6",
		"linux/amd64/v1": "linux/amd64", "linux/x86_64": "linux/amd64", "linux/amd64/v2": "linux/amd64/v2", "linux/amd64/v3": "linux/amd64/v3",
		"linux/i386": "linux/386", "linux/riscv64/rva23u64": "linux/riscv64/rva23u64", "linux/ppc64le/power9": "linux/ppc64le/power9",
		"windows/amd64:10.0.17763.1": "windows/amd64:10.0.17763.1", "windows(10.0.17763.1)/amd64": "windows/amd64:10.0.17763.1",
	} {
		if got := index.Name(*platform(t, in)); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	for _, wrong := range []string{"", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d64"} {
		if p, err := index.ParsePlatform(wrong); err == nil {
			t.Errorf("%q is taken as %v", wrong, p)
		}
	}
}

func TestChecks(t *testing.T) {
	amd, arm, arm8 := entry(t, "linux/amd64", "1"), entry(t, "linux/arm64", "2"), entry(t, "linux/arm64/v8", "3")
	docker, declared, nameless, labelled := entry(t, "linux/arm64", "4"), entry(t, "linux/amd64", "5"), entry(t, "linux/amd64", "6"), entry(t, "linux/arm64", "7")
	docker.Descriptor.MediaType = types.DockerManifestSchema2
	declared.Declared = platform(t, "linux/arm64")
	nameless.Config = &v1.Platform{}
	labelled.Labels = map[string]string{"org.opencontainers.image.revision": "x"}
	for _, c := range []struct {
		entries []index.Entry
		rules   index.Rules
		format  index.Format
		want    index.Check
		says    string
	}{
		{[]index.Entry{amd, arm}, index.Rules{}, index.Auto, "", ""},
		{[]index.Entry{amd, arm}, index.Rules{Expect: []v1.Platform{*platform(t, "linux/amd64"), *platform(t, "linux/arm64/v8")}}, index.Auto, "", ""},
		{[]index.Entry{amd}, index.Rules{Expect: []v1.Platform{*platform(t, "linux/arm64")}}, index.Auto, index.Platforms, "linux/arm64 is expected and missing"},
		{[]index.Entry{amd}, index.Rules{Expect: []v1.Platform{}}, index.Auto, index.Platforms, "which is not expected"},
		{[]index.Entry{arm, arm8}, index.Rules{}, index.Auto, index.Duplicates, "both for linux/arm64"},
		{[]index.Entry{arm, arm}, index.Rules{}, index.Auto, "", ""}, // the same twice is once
		{[]index.Entry{amd, docker}, index.Rules{}, index.Auto, index.MixedTypes, "does not belong"},
		{[]index.Entry{amd}, index.Rules{}, index.Docker, index.MixedTypes, "does not belong"},
		{[]index.Entry{declared}, index.Rules{}, index.Auto, index.ConfigPlatform, "declared as linux/arm64, but its config says linux/amd64"},
		{[]index.Entry{nameless}, index.Rules{}, index.Auto, index.ConfigPlatform, "names its platform"},
		{[]index.Entry{amd, labelled}, index.Rules{}, index.Auto, index.Labels, `has "x"`},
		{[]index.Entry{attestation(amd, "8")}, index.Rules{}, index.Auto, index.Empty, "no image"},
		{nil, index.Rules{}, index.Auto, index.Empty, "no image"},
	} {
		_, err := index.Make(c.entries, index.Options{Rules: c.rules, Format: c.format})
		name := fmt.Sprint(len(c.entries), c.want, c.says)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		check, ok := errors.AsType[*index.CheckError](err)
		if !ok || check.Check != c.want || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestCompletedPlatform: what the config knows and nobody declared is taken over.
func TestCompletedPlatform(t *testing.T) {
	e := entry(t, "windows/amd64:10.0.17763.1", "1")
	e.Config.OSFeatures = []string{"win32k"}
	e.Declared = platform(t, "windows/amd64")
	idx, err := index.Make([]index.Entry{e}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p := idx.Entries[0].Descriptor.Platform; p.OSVersion != "10.0.17763.1" || len(p.OSFeatures) != 1 {
		t.Errorf("got %+v", p)
	}
}
