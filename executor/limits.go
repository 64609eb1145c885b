package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/docker/go-units"

	"github.com/strake-build/strake/shared/layer"
)

// steps checks what is said about RUN steps before anything is fetched: later
// there would be a line of the Dockerfile beside the error, and no flag.
func (p *parser) steps() {
	for _, h := range p.x.StringSlice("add-host") {
		if err := checkHost(h); err != nil {
			p.fail("--add-host %s: %w", h, err)
		}
	}
	for _, u := range p.x.StringSlice("ulimit") {
		if _, err := units.ParseUlimit(u); err != nil {
			p.fail("--ulimit %s: %w", u, err)
		}
	}
}

// checkHost wants NAME:IP or NAME=IP, where an IPv6 address may be in brackets.
func checkHost(s string) error {
	name, ip, ok := strings.Cut(s, "=")
	if !ok {
		name, ip, ok = strings.Cut(s, ":")
	}
	if !ok || name == "" {
		return fmt.Errorf("want NAME:IP")
	}
	if net.ParseIP(strings.Trim(ip, "[]")) == nil {
		return fmt.Errorf("%q is no IP address", ip)
	}
	return nil
}

// level reads --compression-level, where -1 is the usual one, as 0 is to layer.
func (p *parser) level(c layer.Compression) int {
	n := p.x.Int("compression-level")
	highest := 9
	if c == layer.Zstd {
		highest = 22
	}
	if n < -1 || n > highest {
		p.fail("--compression-level %d: %v has 1 to %d, and -1 for the usual one", n, c, highest)
	}
	return max(0, n)
}
