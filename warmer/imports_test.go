package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestLinked: what builds images and fetches their contexts is not in the program.
func TestLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(string(out))
	if len(all) < 100 {
		t.Fatalf("%d packages", len(all))
	}
	for _, p := range all {
		for _, not := range []string{
			"github.com/strake-build/strake/shared/build", "github.com/strake-build/strake/shared/op", "github.com/go-git/",
			"github.com/aws/aws-sdk-go-v2/service/s3", "github.com/Azure/azure-sdk-for-go/sdk/storage", "cloud.google.com/go/storage",
		} {
			if strings.HasPrefix(p, not) {
				t.Errorf("%s is linked", p)
			}
		}
	}
}
