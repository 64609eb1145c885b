package sandbox

// WithoutPivot makes the overlay do without pivot_root.
func (o *Overlay) WithoutPivot() *Overlay {
	o.mode.Or(modeMove)
	return o
}

// WithHostPIDs makes the overlay do without a fresh /proc.
func (o *Overlay) WithHostPIDs() *Overlay {
	o.mode.Or(modeHostPIDs)
	return o
}

// HostPIDs tells whether a fresh /proc was refused.
func (o *Overlay) HostPIDs() bool { return o.mode.Load()&modeHostPIDs != 0 }
