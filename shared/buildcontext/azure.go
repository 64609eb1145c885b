package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"github.com/strake-build/strake/shared/op/source"
)

// Azure says who we are in Azure's blob storage. The first that is given
// counts: a signature in the URL, SAS, Key, the client's secret, its federated
// token, the machine's or the pod's managed identity. Without any the request
// goes out without credentials, which public containers take.
type Azure struct {
	// Key is the account's, as AZURE_STORAGE_ACCESS_KEY has it.
	Key string
	// SAS is a shared access signature, as AZURE_STORAGE_SAS_TOKEN has it.
	SAS string
	// ClientID, TenantID and ClientSecret are a service principal;
	// FederatedTokenFile takes the secret's place for workload identity.
	ClientID, TenantID, ClientSecret, FederatedTokenFile string
	// Endpoint replaces https://ACCOUNT.blob.core.windows.net, as
	// AZURE_STORAGE_SERVICE_ENDPOINT does.
	Endpoint string
}

// azureHosts are those of kaniko: Azure, and its clouds of single countries.
var azureHosts = regexp.MustCompile(`^([a-z0-9]{3,24})\.blob\.core\.(windows\.net|chinacloudapi\.cn|cloudapi\.de|usgovcloudapi\.net)$`)

// has tells whether u is in Azure's blob storage.
func (Azure) has(u *url.URL) bool {
	return u.Scheme == "https" && u.Port() == "" && azureHosts.MatchString(strings.ToLower(u.Hostname()))
}

func (a Azure) opener(u *url.URL) (func(context.Context, Means) (io.ReadCloser, error), error) {
	host := azureHosts.FindStringSubmatch(strings.ToLower(u.Hostname()))
	container, name, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if container == "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("want https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB")
	}
	if name == "" {
		name = defaultObject
	}
	at := *u
	at.Path, at.RawPath = "/"+container+"/"+name, ""
	shown := at
	shown.RawQuery = ""
	if a.Endpoint != "" {
		e, err := endpointURL(a.Endpoint, "")
		if err != nil {
			return nil, err
		}
		at.Scheme, at.Host, at.Path = e.Scheme, e.Host, strings.TrimSuffix(e.Path, "/")+at.Path
	}
	if at.RawQuery == "" {
		at.RawQuery = strings.TrimPrefix(a.SAS, "?")
	}
	return func(ctx context.Context, m Means) (io.ReadCloser, error) {
		o := &azureBlob{Azure: a, account: host[1], cloud: azureCloud(host[2]), url: at.String(), name: shown.String()}
		if err := o.connect(ctx, client(m), at.Query().Has("sig")); err != nil {
			return nil, fmt.Errorf("fetch %s: %w", o.name, err)
		}
		s, err := source.OpenStream(ctx, o.name, o.open)
		if err != nil && o.anonymous && isStatus(err, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict) {
			err = fmt.Errorf("%w; there are no credentials: set AZURE_STORAGE_ACCESS_KEY, or give a signature or an identity", err)
		}
		if err != nil {
			return nil, err
		}
		return s, nil
	}, nil
}

func azureCloud(domain string) cloud.Configuration {
	switch domain {
	case "chinacloudapi.cn":
		return cloud.AzureChina
	case "usgovcloudapi.net":
		return cloud.AzureGovernment
	}
	return cloud.AzurePublic
}

// azureBlob is one blob.
type azureBlob struct {
	Azure
	account   string
	cloud     cloud.Configuration
	url, name string
	anonymous bool
	client    *blob.Client
}

// connect makes a client with the credentials that there are.
func (o *azureBlob) connect(ctx context.Context, c *http.Client, signed bool) (err error) {
	core := policy.ClientOptions{
		Cloud: o.cloud, Transport: source.Careful(c),
		// A stream has retries of its own.
		Retry: policy.RetryOptions{MaxRetries: -1},
	}
	options := &blob.ClientOptions{ClientOptions: core}
	if signed {
		o.client, err = blob.NewClientWithNoCredential(o.url, options)
		return withoutURL(err)
	}
	if o.Key != "" {
		key, err := blob.NewSharedKeyCredential(o.account, o.Key)
		if err != nil {
			return errors.New("the account's key is not in base64")
		}
		o.client, err = blob.NewClientWithSharedKeyCredential(o.url, key, options)
		return withoutURL(err)
	}
	identity, err := o.identity(ctx, core)
	if err != nil {
		return err
	}
	if o.anonymous = identity == nil; o.anonymous {
		o.client, err = blob.NewClientWithNoCredential(o.url, options)
		return withoutURL(err)
	}
	o.client, err = blob.NewClient(o.url, identity, options)
	return withoutURL(err)
}

func withoutURL(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}

// identity is the service principal, or that of the machine; nil when there is none.
func (o *azureBlob) identity(ctx context.Context, core policy.ClientOptions) (azcore.TokenCredential, error) {
	core.Retry = policy.RetryOptions{}
	switch {
	case o.ClientSecret != "" && o.ClientID != "" && o.TenantID != "":
		return azidentity.NewClientSecretCredential(o.TenantID, o.ClientID, o.ClientSecret, &azidentity.ClientSecretCredentialOptions{ClientOptions: core})
	case o.FederatedTokenFile != "" && o.ClientID != "" && o.TenantID != "":
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: core, ClientID: o.ClientID, TenantID: o.TenantID, TokenFilePath: o.FederatedTokenFile,
		})
	case o.Endpoint != "":
		return nil, nil // no token of the machine's for other servers
	}
	core.Transport, core.Retry = nearby(), policy.RetryOptions{MaxRetries: -1}
	mo := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: core}
	if o.ClientID != "" {
		mo.ID = azidentity.ClientID(o.ClientID)
	}
	machine, err := azidentity.NewManagedIdentityCredential(mo)
	if err != nil {
		return nil, fmt.Errorf("managed identity: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTime)
	defer cancel()
	if _, err := machine.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}}); err != nil {
		return nil, nil //nolint:nilerr // there is none off Azure
	}
	return machine, nil
}

// open implements source.Opener.
func (o *azureBlob) open(ctx context.Context, from int64, tag string) (*source.Part, error) {
	var resp *http.Response
	ctx = policy.WithCaptureResponse(ctx, &resp)
	options := &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: from}}
	if from > 0 && tag != "" {
		etag := azcore.ETag(tag)
		options.AccessConditions = &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &etag}}
	}
	_, err := o.client.DownloadStream(ctx, options)
	if re, ok := errors.AsType[*azcore.ResponseError](err); ok && re.RawResponse != nil {
		resp = re.RawResponse
	} else if err != nil {
		return nil, err
	}
	if resp == nil {
		return nil, source.Permanent(errors.New("no answer"))
	}
	return source.PartOf(o.name, resp, from, tag)
}
