package environments

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// Pod reads the first pod of a document, strictly: a field that Kubernetes does not have is an error.
func Pod(document string) (*corev1.Pod, error) {
	content, err := os.ReadFile(filepath.Clean(document))
	if err != nil {
		return nil, err
	}
	block := yamlBlock.FindSubmatch(content)
	if block == nil {
		return nil, fmt.Errorf("%s has no pod", document)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(block[1], &pod); err != nil {
		return nil, fmt.Errorf("read the pod of %s: %w", document, err)
	}
	return &pod, nil
}

// Restricted tells what of the restricted Pod Security Standard (version 1.34) a pod does not keep to.
func Restricted(pod *corev1.Pod) error {
	var errs []error
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	s := pod.Spec
	want(!s.HostNetwork && !s.HostPID && !s.HostIPC, "no namespace of the host")
	ps := s.SecurityContext
	if ps == nil {
		ps = &corev1.PodSecurityContext{}
	}
	for _, c := range append(slices.Clone(s.Containers), s.InitContainers...) {
		cs := c.SecurityContext
		if cs == nil {
			cs = &corev1.SecurityContext{}
		}
		is := func(b *bool, v bool) bool { return b != nil && *b == v }
		want(!is(cs.Privileged, true), "not privileged")
		want(is(cs.AllowPrivilegeEscalation, false), "allowPrivilegeEscalation: false")
		want(is(cs.RunAsNonRoot, true) || cs.RunAsNonRoot == nil && is(ps.RunAsNonRoot, true), "runAsNonRoot: true")
		want(cs.RunAsUser == nil || *cs.RunAsUser != 0, "a user other than root")
		want(cs.Capabilities != nil && slices.Contains(cs.Capabilities.Drop, "ALL"), "capabilities.drop: [ALL]")
		if cs.Capabilities != nil {
			want(!slices.ContainsFunc(cs.Capabilities.Add, func(a corev1.Capability) bool { return a != "NET_BIND_SERVICE" }), "no capabilities added")
		}
		profile := cs.SeccompProfile
		if profile == nil {
			profile = ps.SeccompProfile
		}
		want(profile != nil && profile.Type != corev1.SeccompProfileTypeUnconfined, "a seccomp profile")
		for _, p := range c.Ports {
			want(p.HostPort == 0, "no port of the host")
		}
	}
	for _, v := range s.Volumes {
		want(v.ConfigMap != nil || v.CSI != nil || v.DownwardAPI != nil || v.EmptyDir != nil || v.Ephemeral != nil ||
			v.PersistentVolumeClaim != nil || v.Projected != nil || v.Secret != nil, "volume "+v.Name+": of a kind that is allowed")
	}
	return errors.Join(errs...)
}

// FromPod is the environment that a kubelet makes of a pod's first container. It fails on settings that it does not know,
// so that no page promises what no test has tried.
func FromPod(pod *corev1.Pod) (Environment, error) {
	ps := pod.Spec.SecurityContext
	if ps == nil || len(pod.Spec.Containers) == 0 || pod.Spec.Containers[0].SecurityContext == nil {
		return Environment{}, errors.New("the pod says nothing about security")
	}
	cs := pod.Spec.Containers[0].SecurityContext
	e := Environment{
		NoNewPrivs:    cs.AllowPrivilegeEscalation != nil && !*cs.AllowPrivilegeEscalation,
		UserNamespace: pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers,
	}
	for _, id := range []*int64{ps.RunAsUser, cs.RunAsUser} {
		if id != nil {
			e.UID = uint32(*id)
		}
	}
	e.Caps = capabilities(cs.Capabilities)
	profile := cs.SeccompProfile
	if profile == nil {
		profile = ps.SeccompProfile
	}
	if profile != nil {
		switch profile.Type {
		case corev1.SeccompProfileTypeRuntimeDefault:
			e.Profile = Containerd
		case corev1.SeccompProfileTypeUnconfined:
		default:
			return e, fmt.Errorf("seccomp profile %s: not known here", profile.Type)
		}
	}
	if e.UID != 0 {
		// A user's process holds none; what is not dropped is in its bounding set.
		e.Bounding, e.Caps = e.Caps, nil
	}
	return e, nil
}

// capabilities are the runtime's defaults, less and more.
func capabilities(c *corev1.Capabilities) []string {
	list := defaultCapabilities()
	if c == nil {
		return list
	}
	for _, d := range c.Drop {
		if d == "ALL" {
			list = nil
		}
		list = slices.DeleteFunc(list, func(s string) bool { return strings.TrimPrefix(s, "CAP_") == string(d) })
	}
	for _, a := range c.Add {
		list = append(list, "CAP_"+string(a))
	}
	return list
}
