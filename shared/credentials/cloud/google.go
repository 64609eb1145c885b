package cloud

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/oauth2"
	oauth2google "golang.org/x/oauth2/google"
)

// google takes application default credentials: a key file, workload identity,
// the metadata service (cloud.google.com, "How Application Default Credentials works").
type google struct{ http *http.Client }

// isGoogle knows Container Registry and Artifact Registry.
func isGoogle(host string) bool {
	return host == "gcr.io" || below(host, "gcr.io") || below(host, "pkg.dev")
}

func (g *google) get(ctx context.Context, _ string) (credential, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, g.http)
	found, err := oauth2google.FindDefaultCredentials(ctx, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		return credential{}, none(errors.New("no application default credentials were found"))
	}
	token, err := found.TokenSource.Token()
	if err != nil {
		return credential{}, withoutAnswer(err)
	}
	return credential{authn.AuthConfig{Username: "oauth2accesstoken", Password: token.AccessToken}, token.Expiry}, nil
}

// withoutAnswer keeps what a token service said out of the error: oauth2 quotes all of it.
func withoutAnswer(err error) error {
	if re, ok := errors.AsType[*oauth2.RetrieveError](err); ok && re.Response != nil {
		return errors.New("the token service of the application default credentials answered " + re.Response.Status)
	}
	return err
}
