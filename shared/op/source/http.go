package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strake-build/strake/shared/layer"
)

// Secrets looks a secret up by its ID. A nil Secrets has none.
type Secrets func(id string) ([]byte, bool)

func (s Secrets) get(id string) ([]byte, bool) {
	if s == nil || id == "" {
		return nil, false
	}
	return s(id)
}

// HTTPRequest asks for one file from a web server.
type HTTPRequest struct {
	URL string
	// Filename is what the file is called; empty: what the server or the URL says.
	Filename string
	// Checksum is what the content must have; empty: anything goes.
	Checksum digest.Digest
	Mode     uint32 // permission bits; 0 is 0600
	UID, GID uint32
	// Header is sent along: Accept and User-Agent.
	Header map[string]string
	// AuthSecret is the ID of a secret with the value of the Authorization
	// header. When it is empty, the secrets HTTP_AUTH_HEADER_<host> and
	// HTTP_AUTH_TOKEN_<host> are tried.
	AuthSecret string

	// Secrets gives the values of secrets.
	Secrets Secrets
	// Dir is a directory that nobody else writes to, for the content. It must
	// be there for as long as the table is used.
	Dir string
	// MaxBytes is how long the content may be; 0 is no limit.
	MaxBytes int64
}

// HTTPInfo says what was fetched.
type HTTPInfo struct {
	Filename     string
	Digest       digest.Digest // sha256
	Size         int64
	LastModified time.Time // zero when the server does not say
	ETag         string
}

// StatusError is an answer that is no success.
type StatusError struct {
	URL    string // without user information
	Code   int
	Detail string // what the server says about it, if anything
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("fetch %s: %d %s", e.URL, e.Code, http.StatusText(e.Code))
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

func errNotHTTP(raw string) error {
	return fmt.Errorf("fetch %s: not an http or https URL", bare(raw))
}

// HTTP fetches a file into a table that holds nothing else. What fails for a
// reason that may pass is tried again a few times; a redirect from https to
// http is refused. c may be nil.
func HTTP(ctx context.Context, c *http.Client, r HTTPRequest) (*layer.Table, HTTPInfo, error) {
	u, err := url.Parse(r.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, HTTPInfo{}, errNotHTTP(r.URL)
	}
	f := &fetch{HTTPRequest: r, url: u, client: careful(c)}
	if err := f.authorize(); err != nil {
		return nil, HTTPInfo{}, err
	}
	if err := again(ctx, f.once); err != nil {
		return nil, HTTPInfo{}, err
	}
	ino := &layer.Inode{
		Kind: layer.Regular, Mode: 0o600, UID: r.UID, GID: r.GID,
		Size: f.info.Size, ModTime: time.Unix(0, 0), Content: spooled{path: f.spool},
	}
	if r.Mode != 0 {
		ino.Mode = r.Mode & 0o777
	}
	if !f.info.LastModified.IsZero() {
		ino.ModTime = f.info.LastModified
	}
	t := layer.NewTable()
	t.Root.Inode = topDir(ino.ModTime)
	t.Root.Set(&layer.Node{Name: f.info.Filename, Inode: ino})
	return t.Seal(), f.info, nil
}

// fetch is an HTTPRequest being carried out.
type fetch struct {
	HTTPRequest
	url           *url.URL
	client        *http.Client
	authorization string

	info  HTTPInfo
	spool string
}

// authorize finds the credentials, as BuildKit looks for them.
func (f *fetch) authorize() error {
	if f.AuthSecret != "" {
		v, ok := f.Secrets.get(f.AuthSecret)
		if !ok {
			return fmt.Errorf("fetch %s: no secret %q", bare(f.URL), f.AuthSecret)
		}
		f.authorization = string(v)
		return nil
	}
	if v, ok := f.Secrets.get("HTTP_AUTH_HEADER_" + f.url.Hostname()); ok {
		f.authorization = string(v)
	}
	if v, ok := f.Secrets.get("HTTP_AUTH_TOKEN_" + f.url.Hostname()); ok {
		f.authorization = "Bearer " + string(v)
	}
	return nil
}

// once makes one attempt.
func (f *fetch) once(ctx context.Context) error {
	req, err := f.request(ctx)
	if err != nil {
		return err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return f.failed(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		err := &StatusError{URL: bare(f.URL), Code: resp.StatusCode}
		return &mayPass{err: err, when: passes(resp.StatusCode), after: resp.Header.Get("Retry-After")}
	}
	f.info = HTTPInfo{Filename: fileName(f.URL, f.Filename, resp.Header), ETag: resp.Header.Get("ETag")}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		f.info.LastModified = t
	}
	if f.MaxBytes > 0 && resp.ContentLength > f.MaxBytes {
		return fmt.Errorf("fetch %s: %d bytes: more than the limit of %d", bare(f.URL), resp.ContentLength, f.MaxBytes)
	}
	return f.save(resp.Body)
}

// request makes the request.
func (f *fetch) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil {
		return nil, errNotHTTP(f.URL)
	}
	req.Header.Set("User-Agent", "strake")
	for k, v := range f.Header {
		req.Header.Set(k, v)
	}
	if f.authorization != "" {
		req.Header.Set("Authorization", f.authorization)
	}
	return req, nil
}

// save writes the content to the spool directory, looking at it on its way.
func (f *fetch) save(body io.Reader) (err error) {
	out, err := os.CreateTemp(f.Dir, "http-")
	if err != nil {
		return fmt.Errorf("fetch %s: %w", bare(f.URL), err)
	}
	defer func() {
		err = errors.Join(err, out.Close())
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	sum := sha256.New()
	sums := []io.Writer{out, sum}
	var want hash.Hash
	if f.Checksum != "" && f.Checksum.Algorithm() != digest.SHA256 {
		want = f.Checksum.Algorithm().Hash()
		sums = append(sums, want)
	}
	if f.MaxBytes > 0 {
		body = io.LimitReader(body, f.MaxBytes+1)
	}
	// What cannot be read may pass, what cannot be written will not.
	in := &remembering{r: body}
	n, err := io.Copy(io.MultiWriter(sums...), in)
	if in.err != nil {
		return f.failed(in.err)
	}
	if err != nil {
		return fmt.Errorf("fetch %s: %w", bare(f.URL), err)
	}
	if f.MaxBytes > 0 && n > f.MaxBytes {
		return fmt.Errorf("fetch %s: more than the limit of %d bytes", bare(f.URL), f.MaxBytes)
	}
	f.info.Size, f.info.Digest = n, digest.NewDigest(digest.SHA256, sum)
	got := f.info.Digest
	if want != nil {
		got = digest.NewDigest(f.Checksum.Algorithm(), want)
	}
	if f.Checksum != "" && got != f.Checksum {
		return &ChecksumError{Name: bare(f.URL), Want: f.Checksum.String(), Got: got.String()}
	}
	f.spool = out.Name()
	return nil
}

// ChecksumError is content that is not what was promised.
type ChecksumError struct{ Name, Want, Got string }

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("fetch %s: digest mismatch: expected checksum %s, got %s", e.Name, e.Want, e.Got)
}

// failed words an error of the connection, which names the URL itself.
func (f *fetch) failed(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	_, refused := errors.AsType[*redirectError](err)
	_, noHost := errors.AsType[*net.DNSError](err)
	noHost = noHost && !isTemporary(err)
	return &mayPass{err: fmt.Errorf("fetch %s: %w", bare(f.URL), err), when: !refused && !noHost && !isUntrusted(err)}
}

// remembering keeps the error of its reader apart from those of the writers.
type remembering struct {
	r   io.Reader
	err error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}
