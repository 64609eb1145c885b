package environments

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

// TestRestrictedPod holds the pod of docs/kubernetes.md to the standard, and E4 to the pod.
func TestRestrictedPod(t *testing.T) {
	root, err := testkit.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pod, err := Pod(filepath.Join(root, "docs", "kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Restricted(pod); err != nil {
		t.Errorf("the pod does not keep to the restricted standard:\n%v", err)
	}
	from, err := FromPod(pod)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"E4", "E4c"} {
		want := Named(name)
		// What a pod does not say.
		from.Name, from.What, from.Official, from.Foreign, from.KeepsRoot = want.Name, want.What, want.Official, want.Foreign, want.KeepsRoot
		if len(from.Bounding) == 0 {
			from.Bounding = nil
		}
		if !reflect.DeepEqual(from, want) {
			t.Errorf("the pod makes\n%+v\n%s is\n%+v", from, name, want)
		}
	}
}

// TestRestrictedRefuses takes one setting away at a time.
func TestRestrictedRefuses(t *testing.T) {
	root, err := testkit.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pod, err := Pod(filepath.Join(root, "docs", "kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	yes, user := true, int64(0)
	for name, spoil := range map[string]func(){
		"privilege escalation": func() { pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil },
		"capabilities":         func() { pod.Spec.Containers[0].SecurityContext.Capabilities.Drop = nil },
		"privileged":           func() { pod.Spec.Containers[0].SecurityContext.Privileged = &yes },
		"root":                 func() { pod.Spec.Containers[0].SecurityContext.RunAsUser = &user },
		"seccomp":              func() { pod.Spec.SecurityContext.SeccompProfile = nil },
		"network":              func() { pod.Spec.HostNetwork = true },
	} {
		if pod, err = Pod(filepath.Join(root, "docs", "kubernetes.md")); err != nil {
			t.Fatal(err)
		}
		spoil()
		if Restricted(pod) == nil {
			t.Errorf("%s: nothing is said", name)
		}
	}
}
