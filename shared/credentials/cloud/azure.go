package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azurecloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-containerregistry/pkg/authn"
)

// azure trades an Entra identity (client secret, workload identity, managed
// identity) for a refresh token of one registry (Azure/acr, AAD-OAuth.md).
type azure struct {
	http *http.Client
	base string                 // in place of "https://" and the registry, for tests
	id   azcore.TokenCredential // in place of the machine's, for tests
}

// azureCloud is one of Microsoft's clouds: its registries' domain, and whom a token is for.
type azureCloud struct {
	domain, audience string
	where            azurecloud.Configuration
}

func azureClouds() []azureCloud {
	return []azureCloud{
		{"azurecr.io", "https://containerregistry.azure.net", azurecloud.AzurePublic},
		{"azurecr.cn", "https://management.chinacloudapi.cn", azurecloud.AzureChina},
		{"azurecr.us", "https://management.usgovcloudapi.net", azurecloud.AzureGovernment},
	}
}

// isAzure takes names below the registries' own domains, and none that merely look like it.
func isAzure(host string) bool {
	_, ok := azureOf(host)
	return ok
}

func azureOf(host string) (azureCloud, bool) {
	for _, c := range azureClouds() {
		if below(host, c.domain) {
			return c, true
		}
	}
	return azureCloud{}, false
}

func (a *azure) get(ctx context.Context, host string) (credential, error) {
	c, ok := azureOf(host)
	if !ok {
		return credential{}, fmt.Errorf("%s is no registry of Azure's", host)
	}
	id := a.id
	if id == nil {
		var err error
		if id, err = machineIdentity(azcore.ClientOptions{Cloud: c.where, Transport: a.http, Retry: policy.RetryOptions{MaxRetries: 1}}); err != nil {
			return credential{}, none(errors.New("no identity of Azure was found in the environment"))
		}
	}
	token, err := id.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.audience + "/.default"}})
	if refused, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok && refused.RawResponse != nil {
		return credential{}, fmt.Errorf("the identity of Azure was refused: %s", refused.RawResponse.Status)
	}
	if err != nil {
		return credential{}, none(errors.New("no identity of Azure was found in the environment or from its metadata services"))
	}
	return a.exchange(ctx, host, token.Token)
}

// machineIdentity is the chain of Azure's library, and before it a federated token
// that stands in a variable itself, as kaniko's acr-env takes it.
func machineIdentity(o azcore.ClientOptions) (azcore.TokenCredential, error) {
	token, tenant, client := os.Getenv("AZURE_FEDERATED_TOKEN"), os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID")
	if token != "" && tenant != "" && client != "" && os.Getenv("AZURE_CLIENT_SECRET") == "" {
		given := func(context.Context) (string, error) { return token, nil }
		return azidentity.NewClientAssertionCredential(tenant, client, given, &azidentity.ClientAssertionCredentialOptions{ClientOptions: o})
	}
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: o})
}

// goodFor is how long a refresh token is taken to be good; Azure says three hours.
const goodFor = 2 * time.Hour

func (a *azure) exchange(ctx context.Context, host, token string) (credential, error) {
	base := a.base
	if base == "" {
		base = "https://" + host
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {host}, "access_token": {token}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/oauth2/exchange", strings.NewReader(form.Encode()))
	if err != nil {
		return credential{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := ask(a.http, req, &answer); err != nil {
		return credential{}, err
	}
	if answer.RefreshToken == "" {
		return credential{}, fmt.Errorf("%s gave no refresh token", host)
	}
	return credential{authn.AuthConfig{Username: "<token>", IdentityToken: answer.RefreshToken}, time.Now().Add(goodFor)}, nil
}
