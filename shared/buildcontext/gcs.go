package buildcontext

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/strake-build/strake/shared/op/source"
)

// GCS says how Google Cloud Storage is reached, over its JSON API.
type GCS struct {
	// Credentials are those of a service account, of a user, or for workload
	// identity federation: the JSON that GOOGLE_APPLICATION_CREDENTIALS points
	// to. Without them the machine's metadata server is asked, and without that
	// the request goes out without credentials, which public buckets take.
	Credentials []byte
	// Endpoint replaces https://storage.googleapis.com, as STORAGE_EMULATOR_HOST
	// does. No credentials are sent there unless Credentials are given.
	Endpoint string
	// MetadataHost replaces the metadata server's, as GCE_METADATA_HOST does.
	MetadataHost string
}

const (
	gcsEndpoint = "https://storage.googleapis.com"
	gcsScope    = "https://www.googleapis.com/auth/devstorage.read_only"
	gcsMetadata = "169.254.169.254"
)

// credentialTypes are what Credentials may be. The library would take others,
// by which a file from a stranger could make it talk to anybody.
func credentialTypes() []google.CredentialsType {
	return []google.CredentialsType{
		google.ServiceAccount, google.AuthorizedUser, google.ExternalAccount, google.ExternalAccountAuthorizedUser,
		google.ImpersonatedServiceAccount,
	}
}

func (g GCS) opener(rest string) (func(context.Context, Means) (io.ReadCloser, error), error) {
	bucket, object, err := bucketAndKey(rest)
	if err != nil {
		return nil, err
	}
	endpoint, err := endpointURL(g.Endpoint, gcsEndpoint)
	if err != nil {
		return nil, err
	}
	name := "gs://" + bucket + "/" + object
	address := strings.TrimSuffix(endpoint.String(), "/") + "/storage/v1/b/" + url.PathEscape(bucket) + "/o/" + url.PathEscape(object) + "?alt=media"
	return func(ctx context.Context, m Means) (io.ReadCloser, error) {
		tokens, err := g.tokens(ctx, client(m))
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", name, err)
		}
		hc := source.Careful(client(m))
		open := source.OpenerOf(name, hc, func(ctx context.Context, h http.Header) (*http.Request, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
			if err != nil {
				return nil, source.Permanent(err)
			}
			req.Header = h
			// The bytes as they are stored: those that the checksum is of.
			h.Set("Accept-Encoding", "gzip")
			if tokens == nil {
				return req, nil
			}
			t, err := tokens.Token()
			if err != nil {
				return nil, source.Permanent(fmt.Errorf("get an access token: %w", err))
			}
			t.SetAuthHeader(req)
			return req, nil
		})
		s, err := source.OpenStream(ctx, name, open)
		if err != nil && tokens == nil && isStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
			err = fmt.Errorf("%w; there are no credentials: set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account", err)
		}
		if err != nil {
			return nil, err
		}
		return s, nil
	}, nil
}

// tokens is where access tokens come from; nil when there is nothing.
func (g GCS) tokens(ctx context.Context, c *http.Client) (oauth2.TokenSource, error) {
	if len(g.Credentials) > 0 {
		var head struct {
			Type google.CredentialsType `json:"type"`
		}
		if err := json.Unmarshal(g.Credentials, &head); err != nil {
			return nil, errors.New("the credentials are no JSON")
		}
		for _, known := range credentialTypes() {
			if head.Type != known {
				continue
			}
			creds, err := google.CredentialsFromJSONWithType(context.WithValue(ctx, oauth2.HTTPClient, c), g.Credentials, known, gcsScope)
			if err != nil {
				return nil, fmt.Errorf("read the credentials: %w", err)
			}
			return creds.TokenSource, nil
		}
		return nil, fmt.Errorf("credentials of type %q are not taken", head.Type)
	}
	if g.Endpoint != "" {
		return nil, nil
	}
	machine := &gceTokens{ctx: ctx, host: g.MetadataHost}
	if machine.host == "" {
		machine.host = gcsMetadata
	}
	if _, err := machine.Token(); err != nil {
		return nil, nil //nolint:nilerr // there is none off Google's cloud
	}
	return machine, nil
}

// gceTokens are those of the machine's service account
// (https://cloud.google.com/compute/docs/access/authenticate-workloads).
type gceTokens struct {
	ctx   context.Context // of the one transfer that this is
	host  string
	mu    sync.Mutex
	token *oauth2.Token
}

// Token implements oauth2.TokenSource.
func (g *gceTokens) Token() (*oauth2.Token, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.token.Valid() {
		return g.token, nil
	}
	const path = "/computeMetadata/v1/instance/service-accounts/default/token"
	req, err := http.NewRequestWithContext(g.ctx, http.MethodGet, "http://"+g.host+path+"?scopes="+url.QueryEscape(gcsScope), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Metadata-Flavor", "Google")
	resp, err := nearby().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Metadata-Flavor") != "Google" {
		return nil, fmt.Errorf("metadata server: %s", resp.Status)
	}
	var t struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&t); err != nil || t.AccessToken == "" {
		return nil, errors.New("metadata server: no token in its answer")
	}
	g.token = &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: time.Now().Add(time.Duration(t.ExpiresIn) * time.Second)}
	return g.token, nil
}

// endpointURL reads the address of a service; without a scheme it is https.
func endpointURL(s, usual string) (*url.URL, error) {
	if s == "" {
		s = usual
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("endpoint %s: not an http or https URL", source.Bare(s))
	}
	return u, nil
}

func isStatus(err error, codes ...int) bool {
	e, ok := errors.AsType[*source.StatusError](err)
	if !ok {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}
