package frontend

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/strake-build/strake/shared/graph"
)

func decodeExec(op *pb.ExecOp, res *pb.LinuxResources) (*graph.Exec, error) {
	m := op.GetMeta()
	e := &graph.Exec{
		Args:             m.GetArgs(),
		Env:              m.GetEnv(),
		Cwd:              m.GetCwd(),
		User:             m.GetUser(),
		Hostname:         m.GetHostname(),
		ProxyEnv:         proxyEnv(m.GetProxyEnv()),
		CgroupParent:     m.GetCgroupParent(),
		ValidExitCodes:   m.GetValidExitCodes(),
		RemoveMountStubs: m.GetRemoveMountStubsRecursive(),
		Limits:           limits(res),
	}
	var err error
	if e.Network, err = lookup("network", op.GetNetwork(), networks); err != nil {
		return nil, err
	}
	if e.Insecure, err = lookup("security mode", op.GetSecurity(), insecure); err != nil {
		return nil, err
	}
	for _, h := range m.GetExtraHosts() {
		e.ExtraHosts = append(e.ExtraHosts, graph.Host{Name: h.GetHost(), IP: h.GetIP()})
	}
	for _, u := range m.GetUlimit() {
		e.Ulimits = append(e.Ulimits, graph.Ulimit{Name: u.GetName(), Soft: u.GetSoft(), Hard: u.GetHard()})
	}
	for _, s := range op.GetSecretenv() {
		e.SecretEnv = append(e.SecretEnv, graph.SecretEnv{ID: s.GetID(), Name: s.GetName(), Optional: s.GetOptional()})
	}
	for _, c := range op.GetCdiDevices() {
		e.Devices = append(e.Devices, c.GetName())
		if c.GetOptional() {
			e.OptionalDevices = append(e.OptionalDevices, c.GetName())
		}
	}
	for i, m := range op.GetMounts() {
		mount, err := decodeMount(m)
		if err != nil {
			return nil, fmt.Errorf("mount %d %s: %w", i, m.GetDest(), err)
		}
		e.Mounts = append(e.Mounts, mount)
	}
	return e, nil
}

// lookup translates a value of an enumeration, or refuses it.
func lookup[K ~int32, V any](what string, k K, table func() map[K]V) (V, error) {
	v, ok := table()[k]
	if !ok {
		return v, fmt.Errorf("%s %v: not supported", what, k)
	}
	return v, nil
}

func networks() map[pb.NetMode]graph.Network {
	return map[pb.NetMode]graph.Network{
		pb.NetMode_UNSET: graph.NetworkDefault,
		pb.NetMode_HOST:  graph.NetworkHost,
		pb.NetMode_NONE:  graph.NetworkNone,
	}
}

func insecure() map[pb.SecurityMode]bool {
	return map[pb.SecurityMode]bool{pb.SecurityMode_SANDBOX: false, pb.SecurityMode_INSECURE: true}
}

func mountTypes() map[pb.MountType]graph.MountType {
	return map[pb.MountType]graph.MountType{
		pb.MountType_BIND:   graph.MountBind,
		pb.MountType_CACHE:  graph.MountCache,
		pb.MountType_TMPFS:  graph.MountTmpfs,
		pb.MountType_SECRET: graph.MountSecret,
		pb.MountType_SSH:    graph.MountSSH,
	}
}

func sharings() map[pb.CacheSharingOpt]graph.Sharing {
	return map[pb.CacheSharingOpt]graph.Sharing{
		pb.CacheSharingOpt_SHARED:  graph.SharingShared,
		pb.CacheSharingOpt_PRIVATE: graph.SharingPrivate,
		pb.CacheSharingOpt_LOCKED:  graph.SharingLocked,
	}
}

func decodeMount(m *pb.Mount) (graph.Mount, error) {
	out := graph.Mount{
		Target:   m.GetDest(),
		Selector: m.GetSelector(),
		Input:    index(m.GetInput()),
		Output:   index(m.GetOutput()),
		ReadOnly: m.GetReadonly(),
	}
	if t := m.GetMountType(); t == pb.MountType_SECRET || t == pb.MountType_SSH {
		out.Output = -1 // client/llb leaves it at 0, as nobody reads it
	}
	if m.GetResultID() != "" {
		return out, fmt.Errorf("result %s: not supported", m.GetResultID())
	}
	var err error
	if out.Type, err = lookup("type", m.GetMountType(), mountTypes); err != nil {
		return out, err
	}
	switch out.Type {
	case graph.MountCache:
		out.Cache = &graph.CacheMount{ID: m.GetCacheOpt().GetID()}
		out.Cache.Sharing, err = lookup("sharing", m.GetCacheOpt().GetSharing(), sharings)
	case graph.MountTmpfs:
		out.Size = m.GetTmpfsOpt().GetSize()
	case graph.MountSecret:
		out.Secret = decodeSecret(m.GetSecretOpt())
	case graph.MountSSH:
		out.Secret = decodeSecret(m.GetSSHOpt())
		out.Secret.ID = cmp.Or(out.Secret.ID, "default") // which BuildKit's session makes of it
	}
	return out, err
}

// secretOpt is what pb.SecretOpt and pb.SSHOpt have alike.
type secretOpt interface {
	GetID() string
	GetUid() uint32
	GetGid() uint32
	GetMode() uint32
	GetOptional() bool
}

func decodeSecret(s secretOpt) *graph.SecretMount {
	return &graph.SecretMount{ID: s.GetID(), UID: s.GetUid(), GID: s.GetGid(), Mode: s.GetMode(), Optional: s.GetOptional()}
}

// proxyEnv gives each variable in both cases, as programs differ in which they read.
func proxyEnv(p *pb.ProxyEnv) []string {
	var env []string
	for _, v := range [][2]string{
		{"HTTP_PROXY", p.GetHttpProxy()},
		{"HTTPS_PROXY", p.GetHttpsProxy()},
		{"FTP_PROXY", p.GetFtpProxy()},
		{"NO_PROXY", p.GetNoProxy()},
		{"ALL_PROXY", p.GetAllProxy()},
	} {
		if v[1] != "" {
			env = append(env, v[0]+"="+v[1], strings.ToLower(v[0])+"="+v[1])
		}
	}
	return env
}

// limits names the resources that are limited as the options do that ask for it.
func limits(r *pb.LinuxResources) []string {
	var names []string
	for _, l := range []struct {
		name string
		set  bool
	}{
		{"memory", r.GetMemory() != 0},
		{"memswap", r.GetMemorySwap() != 0},
		{"cpushares", r.GetCpuShares() != 0},
		{"cpuperiod", r.GetCpuPeriod() != 0},
		{"cpuquota", r.GetCpuQuota() != 0},
		{"cpusetcpus", r.GetCpusetCpus() != ""},
		{"cpusetmems", r.GetCpusetMems() != ""},
	} {
		if l.set {
			names = append(names, l.name)
		}
	}
	return names
}
