package environment

// Advice is a setting of the builder's container that would give a better choice.
type Advice struct {
	// Gives is what one would have then.
	Gives string `json:"gives"`
	// YAML is the setting, as it stands in a Pod.
	YAML string `json:"yaml"`
}

const (
	unconfined = `securityContext:
  seccompProfile:
    type: Unconfined
`
	hostUsers = `spec:
  hostUsers: false
  containers:
  - securityContext:
      runAsUser: 0
      seccompProfile:
        type: Unconfined
`
	volume = `containers:
- args: [--kaniko-dir=/builder]
  volumeMounts:
  - {name: builder, mountPath: /builder}
volumes:
- name: builder
  emptyDir: {}
`
	unmasked = `spec:
  hostUsers: false
  containers:
  - securityContext:
      procMount: Unmasked
`
	official = `containers:
- image: strake/executor
`
)

// Advise names the one setting that would give the next better choice than c,
// which is nil where no step can run. It returns nil where there is none.
func (r *Report) Advise(c *Choice) *Advice {
	switch {
	case c == nil && r.refused("disposable root"):
		return &Advice{"steps can run in place, in the official image", official}
	case c == nil:
		return &Advice{"steps can run in a user namespace", unconfined}
	case c.View == Overlay && r.refused("fresh /proc"):
		return &Advice{"steps have processes and a /proc of their own", unmasked}
	case c.View == Overlay:
		return nil
	case c.View == Bind && c.Identity == Real:
		return &Advice{"layers are laid over each other by overlayfs, which takes a volume", volume}
	case c.View == Bind:
		return &Advice{"steps have real ids", hostUsers}
	default:
		return &Advice{"steps have mounts, processes and a network of their own, in a user namespace", unconfined}
	}
}

func (r *Report) refused(name string) bool {
	for _, f := range r.Findings {
		if f.Name == name {
			return f.Err != nil
		}
	}
	return false
}
