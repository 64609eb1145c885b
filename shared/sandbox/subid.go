package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// idRange is a line of a map of a user namespace (user_namespaces(7)).
type idRange struct{ inside, outside, size int64 }

// MappedIDs counts the user and group ids of this process' user namespace.
func MappedIDs() (uids, gids int64, err error) {
	if uids, err = countIDs("/proc/self/uid_map"); err != nil {
		return 0, 0, err
	}
	gids, err = countIDs("/proc/self/gid_map")
	return uids, gids, err
}

func countIDs(file string) (n int64, err error) {
	ranges, err := readMap(file)
	for _, r := range ranges {
		n += r.size
	}
	return n, err
}

func readMap(file string) ([]idRange, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the ids of the user namespace: %w", err)
	}
	var list []idRange
	for line := range strings.Lines(string(b)) {
		var r idRange
		if _, err := fmt.Sscan(line, &r.inside, &r.outside, &r.size); err != nil {
			return nil, fmt.Errorf("read %s: %q: %w", file, line, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// subordinate reads from /etc/subuid or /etc/subgid which ids a user may map:
// lines of name or uid, first id, count (subuid(5)).
func subordinate(r io.Reader, name string, uid int) ([]idRange, error) {
	var list []idRange
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] != strconv.Itoa(uid) && (name == "" || fields[0] != name) {
			continue
		}
		first, err1 := strconv.ParseInt(fields[1], 10, 64)
		count, err2 := strconv.ParseInt(fields[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		if count > 0 && first >= 0 {
			list = append(list, idRange{outside: first, size: count})
		}
	}
	return list, lines.Err()
}

func subordinateFile(file, name string, uid int) ([]idRange, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := subordinate(f, name, uid)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return list, nil
}

// rootless maps the user's own id to 0 and his subordinate ones after it.
func rootless(own int, ranges []idRange) []idRange {
	list := []idRange{{0, int64(own), 1}}
	next := int64(1)
	for _, r := range ranges {
		list = append(list, idRange{next, r.outside, r.size})
		next += r.size
	}
	return list
}

// sameIDs maps each id of this namespace to itself.
func sameIDs(ranges []idRange) []idRange {
	list := make([]idRange, len(ranges))
	for i, r := range ranges {
		list[i] = idRange{r.inside, r.inside, r.size}
	}
	return list
}

// words are the ranges as newuidmap(1) takes them.
func words(ranges []idRange) []string {
	var w []string
	for _, r := range ranges {
		w = append(w, strconv.FormatInt(r.inside, 10), strconv.FormatInt(r.outside, 10), strconv.FormatInt(r.size, 10))
	}
	return w
}

// text is the ranges as the kernel takes them.
func text(ranges []idRange) string {
	var b strings.Builder
	for _, r := range ranges {
		fmt.Fprintf(&b, "%d %d %d\n", r.inside, r.outside, r.size)
	}
	return b.String()
}
