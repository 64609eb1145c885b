package sandbox

import (
	"os"
	"path"
	"strconv"
	"strings"
)

// oomCounter is a file of the kernel's that counts processes killed for want of
// memory, as a line "oom_kill N": the builder's control group, else the machine.
type oomCounter struct{ file string }

func findOOMCounter() oomCounter {
	var candidates []string
	b, _ := os.ReadFile("/proc/self/cgroup") // cgroups(7): hierarchy:controllers:path
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		switch controllers {
		case "": // version 2
			candidates = append(candidates, path.Join("/sys/fs/cgroup", group, "memory.events"), "/sys/fs/cgroup/memory.events")
		case "memory":
			candidates = append(candidates, path.Join("/sys/fs/cgroup/memory", group, "memory.oom_control"), "/sys/fs/cgroup/memory/memory.oom_control")
		}
	}
	for _, file := range append(candidates, "/proc/vmstat") {
		c := oomCounter{file}
		if c.read() >= 0 {
			return c
		}
	}
	return oomCounter{}
}

// read returns -1 where nothing is counted.
func (c *oomCounter) read() int64 {
	b, err := os.ReadFile(c.file)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return -1
}
