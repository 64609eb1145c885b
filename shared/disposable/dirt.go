package disposable

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dirt is what the lock file tells the next build: that stages have been laid
// into this root, and which step ran last. It lives through kill -9.
type dirt struct {
	// Stages says that what is in the root is a build's.
	Stages bool `json:"stages"`
	// Session is the session of the step that runs, 0 when none does, and
	// Started when its first process began, in ticks since the machine did
	// (proc_pid_stat(5), field 22): a number of its own is used again.
	Session int    `json:"session,omitempty"`
	Started uint64 `json:"started,omitempty"`
	// Skeleton is what the image had where its links lead, before the first build.
	Skeleton []bone `json:"skeleton,omitempty"`
}

// allowed are the files that runtimes, and the image itself, put into every root.
var allowed = map[string]bool{".dockerenv": true, "run/.containerenv": true, "etc/mtab": true, "var/run": true, "etc/hosts": true, "etc/hostname": true, "etc/resolv.conf": true}

// maxShown is how many foreign files an error names.
const maxShown = 3

// examine finds out whether the root holds anything that is neither the image's
// nor a build's: then it is somebody else's root, who copied our program in.
func (r *Root) examine() error {
	d, err := r.readDirt()
	if err != nil || d.Stages {
		return err
	}
	places, err := r.places()
	if err != nil {
		return err
	}
	var foreign []string
	err = filepath.WalkDir(r.dir, func(abs string, e fs.DirEntry, err error) error {
		name, _ := r.inside(abs)
		switch {
		case err != nil:
			return err
		case name == "":
			return nil
		case places.Reserved(name) && e.IsDir():
			return filepath.SkipDir
		case places.Reserved(name) || e.IsDir() || allowed[name] || r.isLink(abs, e):
			return nil
		}
		foreign = append(foreign, abs)
		if len(foreign) == maxShown {
			return filepath.SkipAll
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at what is in the root filesystem: %w", err)
	}
	if len(foreign) > 0 {
		return fmt.Errorf("%w: it holds %s (an image made from the official one keeps its own files below %s, or names them in %s)",
			ErrForeign, strings.Join(foreign, ", "), r.home, filepath.Join(r.home, Marker))
	}
	return nil
}

func (r *Root) readDirt() (dirt, error) {
	var d dirt
	b, err := os.ReadFile(filepath.Join(r.home, ".inplace"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return d, nil
	}
	if err == nil {
		// What a longer line had behind it may still be there: see writeDirt.
		err = json.NewDecoder(bytes.NewReader(b)).Decode(&d)
	}
	if err != nil {
		return d, fmt.Errorf("read what the last build left: %w", err)
	}
	return d, nil
}

func (r *Root) writeDirt() error {
	b, err := json.Marshal(r.dirt)
	if err != nil {
		return err
	}
	// One line, shorter than a page: it is written whole, or the build had not begun.
	if _, err = r.lock.WriteAt(append(b, '\n'), 0); err == nil {
		err = r.lock.Truncate(int64(len(b)) + 1)
	}
	if err != nil {
		return fmt.Errorf("note that the root filesystem is in use: %w", err)
	}
	return nil
}

// begin ends what a killed build left running and notes that the root is ours.
func (r *Root) begin() error {
	d, err := r.readDirt()
	if err != nil {
		return err
	}
	if d.Session > 0 {
		if err := endSession(d); err != nil {
			return err
		}
	}
	if !d.Stages {
		if d.Skeleton, err = r.bones(); err != nil {
			return err
		}
	}
	r.dirt = &dirt{Stages: true, Skeleton: d.Skeleton}
	return r.writeDirt()
}

// Running notes the step that begins to run, by its first process, and that it
// has ended, by 0. Should the builder be killed, the next one ends it.
func (r *Root) Running(pid int) error {
	r.dirt.Session, r.dirt.Started = pid, 0
	if pid > 0 {
		p, err := processOf(pid)
		if err != nil {
			return err
		}
		r.dirt.Started = p.started
	}
	return r.writeDirt()
}

// patience is how long killed processes may take to die.
const patience = 10 * time.Second

// endSession kills what is left of a step whose builder was killed. Its first
// process died with the builder; the others would write into the new stage.
func endSession(d dirt) error {
	deadline := time.Now().Add(patience)
	for {
		left, err := killSession(d)
		if left == 0 || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("end what a killed build left running: %d processes do not die", left)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func killSession(d dirt) (left int, err error) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		p, err := processOf(pid)
		if err != nil || p.zombie || p.session != d.Session || p.started < d.Started {
			continue // gone, or of another session that got the number again
		}
		left++
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return left, nil
}

type process struct {
	session int
	started uint64
	zombie  bool
}

// processOf reads what proc_pid_stat(5) says, behind the name, which may hold anything.
func processOf(pid int) (process, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return process{}, fmt.Errorf("look at process %d: stat is %q", pid, b)
	}
	session, err1 := strconv.Atoi(fields[3])
	started, err2 := strconv.ParseUint(fields[19], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return process{session: session, started: started, zombie: fields[0] == "Z" || fields[0] == "X"}, nil
}
