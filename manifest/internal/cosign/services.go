package cosign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-openapi/runtime"
	httptransport "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/sigstore/rekor/pkg/generated/client"
	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// Services are those that vouch for signatures, each by its address. Without
// any, no host but the registry is contacted.
type Services struct {
	// Fulcio certifies keys that are made for the moment.
	Fulcio string
	// Logs are Rekors, whose entries are put into signatures.
	Logs []Log
	// Timestamps are the full addresses of RFC 3161 services.
	Timestamps []string
}

// Log is a Rekor; of version 2 are those that serve tiles.
type Log struct {
	URL     string
	Version uint32
}

// ServicesFile chooses services by a signing_config.json (v0.2), as cosign 3 does.
func ServicesFile(path string, now time.Time) (s Services, err error) {
	c, err := root.NewSigningConfigFromPath(path)
	if err != nil {
		return s, err
	}
	if all := c.FulcioCertificateAuthorityURLs(); len(all) > 0 {
		one, err := root.SelectService(all, sign.FulcioAPIVersions, now)
		if err != nil {
			return s, fmt.Errorf("certificate authority: %w", err)
		}
		s.Fulcio = one.URL
	}
	if all := c.RekorLogURLs(); len(all) > 0 {
		logs, err := root.SelectServices(all, c.RekorLogURLsConfig(), sign.RekorAPIVersions, now)
		if err != nil {
			return s, fmt.Errorf("transparency log: %w", err)
		}
		for _, l := range logs {
			s.Logs = append(s.Logs, Log{l.URL, l.MajorAPIVersion})
		}
	}
	if all := c.TimestampAuthorityURLs(); len(all) > 0 {
		stamps, err := root.SelectServices(all, c.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return s, fmt.Errorf("timestamp authority: %w", err)
		}
		for _, t := range stamps {
			s.Timestamps = append(s.Timestamps, t.URL)
		}
	}
	return s, nil
}

// Check tells what is wrong with the addresses, and whether signatures of a
// format can carry what the services give.
func (s Services) Check(f Format) error {
	var errs []error
	all := append([]string{s.Fulcio}, s.Timestamps...)
	for _, l := range s.Logs {
		all = append(all, l.URL)
		if l.Version > 1 && f.has(Legacy) {
			errs = append(errs, fmt.Errorf("%s is a Rekor of version %d, whose entries fit into bundles only (--signature-format bundle)", l.URL, l.Version))
		}
	}
	for _, a := range all {
		u, err := url.Parse(a)
		if a != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
			errs = append(errs, fmt.Errorf("%q is no address: want https://HOST", a))
		}
	}
	return errors.Join(errs...)
}

func (s Services) logs() (all []sign.Transparency, err error) {
	for _, l := range s.Logs {
		o := &sign.RekorOptions{BaseURL: strings.TrimRight(l.URL, "/"), Version: l.Version}
		if l.Version < 2 {
			c, err := rekor(l.URL)
			if err != nil {
				return nil, err
			}
			o.Client = knownEntries{c}
		}
		all = append(all, named{l.URL, sign.NewRekor(o)})
	}
	return all, nil
}

func (s Services) stamps() (all []*sign.TimestampAuthority) {
	for _, t := range s.Timestamps {
		all = append(all, sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: t, Transport: services().Transport}))
	}
	return all
}

// rekor is Rekor's own client, over ours.
func rekor(at string) (entries.ClientService, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	if u.Path == "" {
		u.Path = client.DefaultBasePath
	}
	over := services()
	over.Transport = legible{over.Transport}
	rt := httptransport.NewWithClient(u.Host, u.Path, []string{u.Scheme}, over)
	rt.Consumers["application/json"], rt.Producers["application/json"] = runtime.JSONConsumer(), runtime.JSONProducer()
	formats := strfmt.NewFormats()
	formats.Add("signedCheckpoint", &util.SignedNote{}, util.SignedCheckpointValidator)
	return client.New(rt, formats).Entries, nil
}

// legible makes an error of refusals that are no JSON, which Rekor's client cannot read.
type legible struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l legible) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(req)
	if err != nil || resp.StatusCode < 400 || strings.Contains(resp.Header.Get("Content-Type"), "json") {
		return resp, err
	}
	return nil, refusal(resp)
}

// knownEntries takes it for an answer when a log has an entry already: keys
// whose signatures are always the same make the same entry again.
type knownEntries struct{ entries.ClientService }

// CreateLogEntry implements sign.RekorClient.
func (k knownEntries) CreateLogEntry(p *entries.CreateLogEntryParams, opts ...entries.ClientOption) (*entries.CreateLogEntryCreated, error) {
	made, err := k.ClientService.CreateLogEntry(p, opts...)
	there, ok := errors.AsType[*entries.CreateLogEntryConflict](err)
	if !ok {
		return made, err
	}
	at := string(there.Location)
	id := at[strings.LastIndexByte(at, '/')+1:]
	got, err := k.GetLogEntryByUUID(entries.NewGetLogEntryByUUIDParamsWithContext(p.Context).WithEntryUUID(id))
	if err != nil {
		return nil, err
	}
	for uuid := range got.Payload {
		id = uuid // a log of several trees answers with the whole name
	}
	return &entries.CreateLogEntryCreated{ETag: id, Location: there.Location, Payload: got.Payload}, nil
}

// services is the client for all but registries: what fails for a while is
// asked again, and what fails for good is told.
func services() *http.Client {
	c := retryablehttp.NewClient()
	c.RetryMax, c.Logger = 3, nil
	c.HTTPClient.Timeout = 30 * time.Second
	c.ErrorHandler = func(resp *http.Response, err error, _ int) (*http.Response, error) {
		if resp == nil {
			return nil, err
		}
		return nil, refusal(resp)
	}
	return c.StandardClient()
}

func refusal(resp *http.Response) error {
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return &statusError{resp.Request.URL.Host, resp.StatusCode, string(b)}
}

// timestamp asks the first service for a timestamp of some bytes; nil where there is none to ask.
func (s Services) timestamp(ctx context.Context, of []byte) ([]byte, error) {
	all := s.stamps()
	if len(all) == 0 {
		return nil, nil
	}
	return all[0].GetTimestamp(ctx, of)
}
