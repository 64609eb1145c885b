package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"

	"github.com/strake-build/strake/shared/op/source"
)

// S3 says how Amazon S3, or a server that speaks its language, is reached.
type S3 struct {
	// Endpoint replaces Amazon's, as S3_ENDPOINT does.
	Endpoint string
	// PathStyle puts the bucket into the path at an Endpoint, as
	// S3_FORCE_PATH_STYLE does; else it goes before the host, unless that is an
	// address, a single name, or the bucket has dots in it.
	PathStyle bool
	// Config finds credentials and a region when they are needed: the default
	// chain of Amazon's SDK. Where it is nil, or finds none, requests go out
	// unsigned, which public buckets take.
	Config func(ctx context.Context) (aws.Config, error)
}

const (
	s3Region = "us-east-1"
	// emptySHA256 is the hash of a request without a body.
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func (s S3) opener(rest string) (func(context.Context, Means) (io.ReadCloser, error), error) {
	bucket, key, err := bucketAndKey(rest)
	if err != nil {
		return nil, err
	}
	if s.Endpoint != "" {
		if _, err := endpointURL(s.Endpoint, ""); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, m Means) (io.ReadCloser, error) {
		o := &s3Object{S3: s, bucket: bucket, key: key, region: s3Region, client: source.Careful(client(m))}
		// Another region is told in a redirect, and needs another signature.
		o.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		if err := o.load(ctx); err != nil {
			return nil, fmt.Errorf("fetch %s: %w", o.name(), err)
		}
		r, err := source.OpenStream(ctx, o.name(), o.open)
		if err != nil && o.credentials == nil && isStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
			err = fmt.Errorf("%w; there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine or the pod a role", err)
		}
		if err != nil {
			return nil, err
		}
		return r, nil
	}, nil
}

// s3Object is one object.
type s3Object struct {
	S3
	bucket, key string
	region      string
	credentials aws.CredentialsProvider // nil: requests are not signed
	client      *http.Client
}

func (o *s3Object) name() string { return "s3://" + o.bucket + "/" + o.key }

// load finds the credentials and the region.
func (o *s3Object) load(ctx context.Context) error {
	if o.Config == nil {
		return nil
	}
	c, err := o.Config(ctx)
	if err != nil {
		return fmt.Errorf("load Amazon's configuration: %w", err)
	}
	if c.Region != "" {
		o.region = c.Region
	}
	if o.Endpoint == "" && c.BaseEndpoint != nil {
		o.Endpoint = *c.BaseEndpoint
	}
	if c.Credentials == nil {
		return nil
	}
	cached := aws.NewCredentialsCache(c.Credentials)
	_, err = cached.Retrieve(ctx)
	// Whoever has a role to assume has an identity, and wants to know what is wrong with it.
	op, ok := errors.AsType[*smithy.OperationError](err)
	switch {
	case err == nil:
		o.credentials = cached
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ok && op.ServiceID != "ec2imds":
		return noIdentity(op)
	}
	return nil
}

// noIdentity says why a role cannot be assumed, without what was sent.
func noIdentity(op *smithy.OperationError) error {
	what := op.ServiceID + " " + op.OperationName
	if e, ok := errors.AsType[smithy.APIError](op); ok {
		return fmt.Errorf("the identity of AWS was refused by %s: %s: %w", what, e.ErrorCode(), source.ErrDenied)
	}
	return fmt.Errorf("the identity of AWS: %s: %w", what, source.ErrUnavailable)
}

// open implements source.Opener. A bucket may be in another region than it was
// looked for in: that is told once.
func (o *s3Object) open(ctx context.Context, from int64, tag string) (*source.Part, error) {
	for moved := false; ; moved = true {
		req, err := o.request(ctx, from, tag)
		if err != nil {
			return nil, source.Permanent(err)
		}
		resp, err := o.client.Do(req)
		if err != nil {
			return nil, err
		}
		region := resp.Header.Get("X-Amz-Bucket-Region")
		if moved || o.Endpoint != "" || resp.StatusCode < 300 || region == "" || region == o.region {
			return source.PartOf(o.name(), resp, from, tag)
		}
		_ = resp.Body.Close()
		o.region = region
	}
}

func (o *s3Object) request(ctx context.Context, from int64, tag string) (*http.Request, error) {
	u, err := o.url()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.URL = u // with the path spelled as it is signed
	source.Range(req.Header, from, tag)
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("X-Amz-Checksum-Mode", "ENABLED")
	req.Header.Set("X-Amz-Content-Sha256", emptySHA256)
	if o.credentials == nil {
		return req, nil
	}
	creds, err := o.credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("get credentials: %w", err)
	}
	err = v4.NewSigner().SignHTTP(ctx, creds, req, emptySHA256, "s3", o.region, time.Now(), func(so *v4.SignerOptions) {
		so.DisableURIPathEscaping = true // S3's own rule: the path is escaped once
	})
	return req, err
}

// url is where the object is.
func (o *s3Object) url() (*url.URL, error) {
	if strings.ContainsAny(o.region, "/.:@?# ") {
		return nil, fmt.Errorf("region %q", o.region)
	}
	domain := "amazonaws.com"
	if strings.HasPrefix(o.region, "cn-") {
		domain += ".cn"
	}
	u, err := endpointURL(o.Endpoint, "https://s3."+o.region+"."+domain)
	if err != nil {
		return nil, err
	}
	path := strings.TrimSuffix(u.Path, "/")
	if o.inPath(u.Hostname()) {
		path += "/" + o.bucket
	} else {
		u.Host = o.bucket + "." + u.Host
	}
	u.Path = path + "/" + o.key
	u.RawPath = awsEscape(u.Path)
	if _, err := url.Parse(u.String()); err != nil {
		return nil, errors.New("its name does not make a URL")
	}
	return u, nil
}

// inPath tells whether the bucket stands in the path.
func (o *s3Object) inPath(host string) bool {
	return o.Endpoint != "" && o.PathStyle || strings.Contains(o.bucket, ".") || !strings.Contains(host, ".") || net.ParseIP(host) != nil
}

// awsEscape escapes a path as signatures of version 4 want it: all but RFC 3986's
// unreserved characters and slashes.
func awsEscape(p string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(p) {
		c := p[i]
		if c == '/' || c == '-' || c == '_' || c == '.' || c == '~' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}
