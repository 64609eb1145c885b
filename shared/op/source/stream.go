package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Part is an object on a server from some byte to its end.
type Part struct {
	Body io.ReadCloser
	// From is where Body begins: the byte asked for, or 0 from a server that
	// does not know ranges.
	From int64
	// Size is that of the whole object; -1 when the server does not say.
	Size int64
	// Tag is the strong validator of the object's present state (RFC 9110,
	// 8.8.3); empty: none.
	Tag  string
	sums []*sum
}

// Opener opens an object at a byte. A tag, where given, is the state that it
// must still be in. Its errors are those of PartOf, or of the connection.
type Opener func(ctx context.Context, from int64, tag string) (*Part, error)

// Stream reads one object from its first byte to its last. When the connection
// breaks, or no byte comes for a while, it goes on where it was with a new one,
// if the server has a tag by which it knows that the object is the same; else
// it ends with an error for which MayPass is true. io.EOF means that the size,
// and the checksums that the server sent along, were right.
type Stream struct {
	ctx   context.Context // of the one transfer that this is
	name  string
	open  Opener
	part  *Part
	tag   string
	size  int64
	sums  []*sum
	off   int64
	stall time.Duration
	live  context.Context // of the connection
	drop  func()
	watch *time.Timer

	faults  int // in a row
	faultAt int64
	err     error // the last word, io.EOF included
}

const (
	// patience is how long a connection may be without a byte.
	patience = 60 * time.Second
	// progress is how many bytes must come between faults for the count to
	// begin anew.
	progress = 1 << 20
)

var errStalled = errors.New("no byte came for a while")

// OpenStream opens an object; name is what errors call it, without secrets. What
// may pass is tried again a few times.
func OpenStream(ctx context.Context, name string, open Opener) (*Stream, error) {
	s := &Stream{ctx: ctx, name: name, open: open, size: -1, stall: patience}
	if err := again(ctx, func(context.Context) error { return s.connect() }); err != nil {
		return nil, err
	}
	s.tag, s.size, s.sums = s.part.Tag, s.part.Size, s.part.sums
	return s, nil
}

// Size is that of the whole object; -1 when the server did not say.
func (s *Stream) Size() int64 { return s.size }

// Read implements io.Reader.
func (s *Stream) Read(p []byte) (int, error) {
	for s.err == nil {
		n, err := s.read(p)
		for _, sum := range s.sums {
			sum.hash.Write(p[:n])
		}
		s.off += int64(n)
		s.err = s.judge(err)
		if n > 0 || len(p) == 0 {
			// What is wrong with the end is told after the bytes before it.
			return n, nil
		}
	}
	return 0, s.err
}

// Close ends the transfer.
func (s *Stream) Close() error {
	s.disconnect()
	if s.err == nil {
		s.err = net.ErrClosed
	}
	return nil
}

func (s *Stream) read(p []byte) (int, error) {
	if s.part == nil {
		if err := s.connect(); err != nil {
			return 0, err
		}
	}
	s.watch.Reset(s.stall)
	n, err := s.part.Body.Read(p)
	s.watch.Stop()
	if err != nil && err != io.EOF && context.Cause(s.live) == errStalled {
		err = &mayPass{err: fmt.Errorf("fetch %s: %w: %v", s.name, errStalled, s.stall), when: true}
	}
	return n, err
}

// connect opens the object where reading stands.
func (s *Stream) connect() error {
	live, cancel := context.WithCancelCause(s.ctx)
	watch := time.AfterFunc(s.stall, func() { cancel(errStalled) })
	part, err := s.open(live, s.off, s.tag)
	if err == nil && s.off > 0 {
		err = s.rejoin(part)
	}
	if err != nil {
		watch.Stop()
		if context.Cause(live) == errStalled {
			err = errStalled
		}
		cancel(nil)
		return s.failed(err)
	}
	s.part, s.live, s.watch, s.drop = part, live, watch, func() { cancel(nil) }
	return nil
}

// rejoin makes sure that a new connection goes on where the old one ended.
func (s *Stream) rejoin(p *Part) error {
	err := error(nil)
	switch {
	case p.Tag != "" && p.Tag != s.tag, s.size >= 0 && p.Size >= 0 && p.Size != s.size:
		err = errChanged(s.name)
	case p.From == 0 && p.Tag == s.tag:
		_, err = io.CopyN(io.Discard, p.Body, s.off)
	case p.From != s.off:
		err = fmt.Errorf("fetch %s: the server sent it from byte %d, asked for was %d", s.name, p.From, s.off)
	}
	if err != nil {
		_ = p.Body.Close()
	}
	return err
}

var errOther = errors.New("it changed while it was being read")

func errChanged(name string) error {
	return &mayPass{err: fmt.Errorf("fetch %s: %w", name, errOther), when: true}
}

func (s *Stream) disconnect() {
	if s.part == nil {
		return
	}
	s.watch.Stop()
	s.drop()
	_ = s.part.Body.Close() // nothing more is wanted of it
	s.part = nil
}

// judge decides how it goes on after a read: nil for on and on.
func (s *Stream) judge(err error) error {
	switch {
	case s.size >= 0 && s.off > s.size:
		return fmt.Errorf("fetch %s: more came than the %d bytes that the server announced", s.name, s.size)
	case err == nil:
		return nil
	case err == io.EOF && (s.size < 0 || s.off == s.size):
		s.disconnect()
		return s.verify()
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err = s.failed(err); !MayPass(err) || errors.Is(err, errOther) {
		return err
	}
	return s.pause(err)
}

// pause drops the connection; the next read makes a new one.
func (s *Stream) pause(err error) error {
	s.disconnect()
	if s.off > 0 && s.tag == "" {
		return &mayPass{err: fmt.Errorf("%w; it broke off at byte %d, and the server has no ETag by which to go on", err, s.off), when: true}
	}
	if s.off-s.faultAt >= progress {
		s.faults = 0
	}
	s.faultAt = s.off
	if s.faults++; s.faults >= attempts {
		return &unavailable{fmt.Errorf("%w; it broke off at byte %d", err, s.off)}
	}
	return wait(s.ctx, firstPause<<(s.faults-1))
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// verify compares what was read with what the server promised.
func (s *Stream) verify() error {
	for _, sum := range s.sums {
		if got := sum.hash.Sum(nil); string(got) != string(sum.want) {
			return &ChecksumError{Name: s.name, Want: fmt.Sprintf("%s:%x", sum.name, sum.want), Got: fmt.Sprintf("%s:%x", sum.name, got)}
		}
	}
	return io.EOF
}

// failed words an error of the connection, and says whether it may pass.
func (s *Stream) failed(err error) error {
	if _, ok := errors.AsType[*mayPass](err); ok {
		return err
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // it names the URL itself, with what may be secret in it
	}
	_, refused := errors.AsType[*redirectError](err)
	dns, noHost := errors.AsType[*net.DNSError](err)
	noHost = noHost && !dns.IsTemporary && !dns.IsTimeout
	permanent := refused || noHost || isUntrusted(err)
	if _, ok := errors.AsType[*permanentError](err); ok {
		permanent = true
	}
	return &mayPass{err: fmt.Errorf("fetch %s: %w", s.name, err), when: !permanent}
}

// permanentError is the failure of a request before it is sent.
type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// Permanent marks an error of an Opener that will not pass, such as one of
// making the request.
func Permanent(err error) error { return &permanentError{err} }

// MayPass tells whether the same may succeed when it is tried from the beginning.
func MayPass(err error) bool {
	p, ok := errors.AsType[*mayPass](err)
	return ok && p.when
}

// Range sets the headers by which a request gets an object from a byte on, as
// long as it is in the state that tag names (RFC 9110, 13.1 and 14.2).
func Range(h http.Header, from int64, tag string) {
	if from == 0 {
		return
	}
	h.Set("Range", "bytes="+strconv.FormatInt(from, 10)+"-")
	// Object stores know If-Match, plain servers rather If-Range.
	h.Set("If-Match", tag)
	h.Set("If-Range", tag)
}

// PartOf reads the answer to a request for an object from a byte on. It closes
// the body of all that is no success, which becomes a *StatusError.
func PartOf(name string, resp *http.Response, from int64, tag string) (*Part, error) {
	p := &Part{Body: resp.Body, Size: resp.ContentLength, Tag: strongTag(resp.Header)}
	switch {
	case resp.StatusCode == http.StatusOK:
		p.sums = promises(resp.Header)
		return p, nil
	case resp.StatusCode == http.StatusPartialContent:
		if err := p.place(resp.Header.Get("Content-Range")); err != nil {
			_ = resp.Body.Close()
			return nil, fmt.Errorf("fetch %s: %w", name, err)
		}
		return p, nil
	}
	defer resp.Body.Close()
	switch {
	case from > 0 && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && resp.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", from):
		// Everything is here, only the end was not seen.
		return &Part{Body: http.NoBody, From: from, Size: from, Tag: tag}, nil
	case from > 0 && resp.StatusCode == http.StatusPreconditionFailed:
		return nil, errChanged(name)
	}
	err := &StatusError{URL: name, Code: resp.StatusCode, Detail: detail(resp)}
	return nil, &mayPass{err: err, when: passes(resp.StatusCode), after: resp.Header.Get("Retry-After")}
}

// place reads "bytes FIRST-LAST/SIZE".
func (p *Part) place(s string) error {
	var last int64
	size := ""
	if _, err := fmt.Sscanf(s, "bytes %d-%d/%s", &p.From, &last, &size); err != nil {
		return fmt.Errorf("the server sent a range %q", s)
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || size == "*" {
		n = -1
	}
	p.Size = n
	return nil
}

func strongTag(h http.Header) string {
	tag := h.Get("ETag")
	if strings.HasPrefix(tag, "W/") {
		return ""
	}
	return tag
}
