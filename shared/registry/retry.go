package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// retrier repeats what may be repeated, after a pause that grows. A host that
// asks for patience (Retry-After) gets it from all requests to it.
type retrier struct {
	extra  int           // attempts after the first
	base   time.Duration // first pause
	most   time.Duration // longest pause of our own choice
	obey   time.Duration // longest pause a registry may ask for
	header time.Duration // how long a question may stay without any answer

	mu    sync.Mutex
	until map[string]time.Time // by host
}

func newRetrier(retries int) *retrier {
	if retries == 0 {
		retries = DefaultRetries
	}
	return &retrier{
		extra:  max(retries, 0),
		base:   500 * time.Millisecond,
		most:   15 * time.Second,
		obey:   time.Minute,
		header: time.Minute,
		until:  make(map[string]time.Time),
	}
}

var errSlow = errors.New("no answer in time")

type onceKey struct{}

// once marks requests that their sender repeats himself, such as uploads: a
// part of them alone cannot be repeated.
func once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

// over wraps next.
func (r *retrier) over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Context().Value(onceKey{}) != nil || req.Method == http.MethodPatch {
			return r.try(next, req)
		}
		for attempt := 0; ; attempt++ {
			resp, err := r.try(next, req)
			wait, again := r.again(req, resp, err, attempt)
			if !again {
				return resp, err
			}
			if resp != nil {
				discard(resp.Body)
			}
			if err := sleep(req.Context(), wait); err != nil {
				return nil, err
			}
		}
	})
}

// again decides about the next attempt, and how long to wait before it.
func (r *retrier) again(req *http.Request, resp *http.Response, err error, attempt int) (time.Duration, bool) {
	if attempt >= r.extra || req.Context().Err() != nil || req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return 0, false
	}
	if err != nil {
		return r.pause(attempt), isNetwork(err)
	}
	return r.pause(attempt), mayPass(resp.StatusCode) && r.held(req.URL.Host) <= r.obey
}

// pause grows with attempts; a random half keeps many builds from coming back at once.
func (r *retrier) pause(attempt int) time.Duration {
	d := min(r.base<<min(attempt, 16), r.most)
	return d/2 + rand.N(d/2+1)
}

// note remembers what a registry asks for in Retry-After.
func (r *retrier) note(host string, resp *http.Response) {
	if d := retryAfter(resp.Header.Get("Retry-After")); d > 0 && mayPass(resp.StatusCode) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.until[host] = time.Now().Add(d)
	}
}

// held is how long a host wants no request.
func (r *retrier) held(host string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.until[host])
}

// try sends a request once, from a fresh body, and marks faults of the network.
func (r *retrier) try(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	if d := r.held(req.URL.Host); d <= r.obey {
		if err := sleep(req.Context(), d); err != nil {
			return nil, err
		}
	}
	// The bearer transport above sends the same request again with a new token
	// after a 401, when the body is half read: "cannot reuse body" elsewhere.
	ctx, cancel := context.WithCancelCause(req.Context())
	out := req.WithContext(ctx)
	if req.GetBody != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		body, err := req.GetBody()
		if err != nil {
			cancel(nil)
			return nil, err
		}
		out.Body = body
	}
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		t := time.AfterFunc(r.header, func() { cancel(errSlow) })
		defer t.Stop()
	}
	resp, err := next.RoundTrip(out)
	if err != nil {
		if context.Cause(ctx) == errSlow {
			err = fmt.Errorf("%w: none for %v", errSlow, r.header)
		}
		cancel(nil)
		return nil, markNetwork(req.Context(), err)
	}
	r.note(req.URL.Host, resp)
	resp.Body = &watchedBody{ReadCloser: resp.Body, ctx: req.Context(), cancel: cancel}
	return resp, nil
}

func markNetwork(ctx context.Context, err error) error {
	if ctx.Err() != nil || isUntrusted(err) {
		return err
	}
	return &netError{err}
}

// watchedBody ends its request's context when closed, and marks faults of the network.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = markNetwork(b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// discard reads a short rest, so that the connection can be used again.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	body.Close()
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryAfter reads the header's two forms: seconds, or a date (RFC 9110, 10.2.3).
func retryAfter(v string) time.Duration {
	if s, err := strconv.ParseInt(v, 10, 32); err == nil {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return time.Until(t)
	}
	return 0
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
