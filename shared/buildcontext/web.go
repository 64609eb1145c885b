package buildcontext

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/strake-build/strake/shared/op/source"
)

// fromWeb is an archive on a web server, or in Azure's blob storage.
func (a *archive) fromWeb(ref string, azure Azure) error {
	if u, err := url.Parse(ref); err == nil && azure.has(u) {
		open, err := azure.opener(u)
		a.open = open
		u.RawQuery = "" // a signature may be in it
		a.name = source.Bare(u.String())
		return err
	}
	a.name = shown(ref)
	a.orDockerfile = true
	a.open = func(ctx context.Context, m Means) (io.ReadCloser, error) {
		return source.OpenHTTP(ctx, client(m), source.HTTPRequest{URL: ref, Secrets: m.Secrets})
	}
	return nil
}

// shown is a URL as it may be shown: signatures stand in queries.
func shown(ref string) string {
	u, err := url.Parse(source.Bare(ref))
	if err != nil {
		return source.Bare(ref)
	}
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	return u.String()
}

// answerTime is how long a server may take to begin an answer.
const answerTime = 60 * time.Second

// client is that of the build, or one whose servers have to answer in time.
func client(m Means) *http.Client {
	if m.Client != nil {
		return m.Client
	}
	return &http.Client{Transport: transport()}
}

func transport() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: answerTime}
	}
	t = t.Clone()
	t.ResponseHeaderTimeout = answerTime
	return t
}

// nearby is a client for the services of a cloud that are on the machine itself.
// They are there at once or not at all, and never behind a proxy.
func nearby() *http.Client {
	return &http.Client{
		Timeout:       metadataTime,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// metadataTime is how long a cloud's metadata server is waited for.
const metadataTime = 1500 * time.Millisecond
