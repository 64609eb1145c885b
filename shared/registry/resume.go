package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// status asks how much of an upload that broke off the registry has
// (distribution specification, "Pushing a blob in chunks"), and tells whether
// to go on there. Registries that cannot say are no reason to stop.
func (u *upload) status(ctx context.Context) bool {
	at := u.at
	u.at = nil
	if at == nil {
		return false
	}
	resp, err := u.s.do(ctx, http.MethodGet, at, nil, http.StatusNoContent, http.StatusAccepted)
	if err != nil {
		return false
	}
	defer discard(resp.Body)
	got, ok := received(resp.Header.Get("Range"))
	if !ok || got > u.size {
		return false
	}
	if resp.Header.Get("Location") != "" {
		if at, err = location(resp); err != nil {
			return false
		}
	}
	u.at, u.got = at, got
	return true
}

// received reads "0-N", the bytes that came. "0-0" is what some say for none.
func received(v string) (int64, bool) {
	last, ok := strings.CutPrefix(strings.TrimPrefix(v, "bytes="), "0-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(last, 10, 64)
	return n + 1, err == nil && n > 0
}

// rest sends what the registry does not have yet, and closes the upload.
func (u *upload) rest(ctx context.Context) error {
	if u.got == u.size {
		return u.finish(ctx, u.size)
	}
	resp, err := u.send(ctx, http.MethodPatch, u.at.String(), u.got, http.StatusAccepted, http.StatusNoContent)
	if err != nil {
		return err
	}
	defer discard(resp.Body)
	if u.at, err = location(resp); err != nil {
		return err
	}
	u.got = u.size
	return u.finish(ctx, u.size)
}

// finish sends what comes after from, and closes the upload with the digest.
func (u *upload) finish(ctx context.Context, from int64) error {
	at := *u.at
	q := at.Query()
	q.Set("digest", u.digest.String())
	at.RawQuery = q.Encode()
	resp, err := u.send(ctx, http.MethodPut, at.String(), from, http.StatusCreated, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return err
	}
	discard(resp.Body)
	return nil
}

// send sends the blob from a byte on, as the body of one request.
func (u *upload) send(ctx context.Context, method, at string, from int64, want ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(once(ctx), method, at, nil)
	if err != nil {
		return nil, err
	}
	src := &source{open: func() (io.ReadCloser, error) { return openAt(u.layer, from) }}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Body, req.ContentLength = src.body(), u.size-from
	req.GetBody = func() (io.ReadCloser, error) { return src.body(), nil }
	if req.ContentLength == 0 {
		// To net/http, a body of length 0 is one of unknown length.
		req.Body, req.GetBody = http.NoBody, func() (io.ReadCloser, error) { return http.NoBody, nil }
	}
	if method == http.MethodPatch {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", from, u.size-1))
	}
	resp, err := u.s.client.Do(req)
	if err != nil {
		return nil, src.blame(err)
	}
	if err := transport.CheckError(resp, want...); err != nil {
		discard(resp.Body)
		return nil, u.s.refused(err)
	}
	return resp, nil
}

// openAt opens a layer and leaves out its beginning.
func openAt(l v1.Layer, from int64) (io.ReadCloser, error) {
	r, err := l.Compressed()
	if err != nil || from == 0 {
		return r, err
	}
	if s, ok := r.(io.Seeker); ok {
		_, err = s.Seek(from, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, r, from)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}
