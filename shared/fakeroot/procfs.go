package fakeroot

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// showProc says of a file below /proc/PID that it belongs to whom the process believes to be: ps and
// start-stop-daemon read it there.
func (v *service) showProc(fd int, st *unix.Statx_t) {
	mine := st.Uid == v.uid
	st.Uid, st.Gid = v.shownUser(st.Uid), v.shownGroup(st.Gid)
	if !mine {
		return
	}
	name, err := readlink(procSelfFD(fd))
	if err != nil {
		return
	}
	rest, below := strings.CutPrefix(name, "/proc/")
	if !below {
		return
	}
	first, _, _ := strings.Cut(rest, "/")
	pid, err := strconv.Atoi(first)
	if err != nil || pid == v.pid {
		return
	}
	if t, err := v.thread(pid); err == nil && t.tgid != v.pid {
		st.Uid, st.Gid = t.cred.user.effective, t.cred.group.effective
	}
}
