package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"time"

	"golang.org/x/sync/errgroup"
)

// streams carries a process' output to its writers.
type streams struct {
	readers, writers []*os.File
	copies           errgroup.Group
}

// newStreams makes a pipe for each writer, or one for both when they are the same.
func newStreams(stdout, stderr io.Writer) (*streams, error) {
	s := &streams{}
	list := []io.Writer{stdout}
	if !same(stdout, stderr) {
		list = append(list, stderr)
	}
	for _, w := range list {
		r, pw, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make a pipe for output: %w", err), s.finish())
		}
		s.readers, s.writers = append(s.readers, r), append(s.writers, pw)
		s.copies.Go(func() error { return drain(w, r) })
	}
	return s, nil
}

func same(a, b io.Writer) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && a == b
}

// drain copies all of r. A process must not be stopped or stuck because its
// reader had enough, so the rest is read and forgotten.
func drain(w io.Writer, r *os.File) error {
	if w == nil {
		w = io.Discard
	}
	_, err := io.Copy(w, tail{r})
	if err != nil {
		_, _ = io.Copy(io.Discard, tail{r})
		return fmt.Errorf("write a process' output: %w", err)
	}
	return nil
}

// tail reads a pipe to its end or, past the deadline that finish sets, until
// nothing is in it: what the processes wrote is not lost to a slow writer.
type tail struct{ pipe *os.File }

func (t tail) Read(b []byte) (int, error) {
	n, err := t.pipe.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	if err := t.pipe.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return 0, err
	}
	if n, err = t.pipe.Read(b); errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return n, err
}

func (s *streams) stdout() int { return int(s.writers[0].Fd()) }
func (s *streams) stderr() int { return int(s.writers[len(s.writers)-1].Fd()) }

// started closes the process' ends here.
func (s *streams) started() {
	for _, w := range s.writers {
		w.Close()
	}
	s.writers = nil
}

// finish waits for the last of the output. All writers are dead by now, but one
// may have handed its descriptor to a process elsewhere: that is not waited for.
func (s *streams) finish() error {
	s.started()
	for _, r := range s.readers {
		_ = r.SetReadDeadline(time.Now().Add(2 * time.Second))
	}
	err := s.copies.Wait()
	for _, r := range s.readers {
		r.Close()
	}
	return err
}
