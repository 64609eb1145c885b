package cloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/smithy-go"
	"github.com/google/go-containerregistry/pkg/authn"
)

// amazon trades an AWS identity for a password of ECR (API reference,
// GetAuthorizationToken). The one call is made here, as the client for all of
// ECR's calls would be a megabyte.
type amazon struct {
	proxy func(*http.Request) (*url.URL, error)
	base  string // in place of "https://" and the API's host, for tests
}

const publicECR = "public.ecr.aws"

// ecrHost takes apart ACCOUNT.dkr.ecr[-fips].REGION.DOMAIN, and the newer
// ACCOUNT.dkr-ecr[-fips].REGION.on.aws.
var ecrHost = regexp.MustCompile(`^[0-9]{12}\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\.(amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|on\.aws|on\.amazonwebservices\.com\.cn|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$`)

func isAmazon(host string) bool { return host == publicECR || ecrHost.MatchString(host) }

// ecrCall is where and how to ask for a password.
type ecrCall struct{ host, target, service, region string }

func callFor(host string) (ecrCall, error) {
	if host == publicECR {
		return ecrCall{"api.ecr-public.us-east-1.amazonaws.com", "SpencerFrontendService.GetAuthorizationToken", "ecr-public", "us-east-1"}, nil
	}
	m := ecrHost.FindStringSubmatch(host)
	if m == nil {
		return ecrCall{}, fmt.Errorf("%s is no registry of Amazon's", host)
	}
	fips, region, domain := m[1], m[2], m[3]
	api := "api.ecr." + region + "." + domain
	switch domain {
	case "on.aws":
		api = "api.ecr." + region + ".amazonaws.com"
	case "on.amazonwebservices.com.cn":
		api = "api.ecr." + region + ".amazonaws.com.cn"
	}
	if fips != "" {
		api = strings.Replace(api, "api.ecr.", "ecr-fips.", 1)
	}
	return ecrCall{api, "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken", "ecr", region}, nil
}

func (a *amazon) get(ctx context.Context, host string) (credential, error) {
	call, err := callFor(host)
	if err != nil {
		return credential{}, err
	}
	// The SDK's own kind of client, as AWS_CA_BUNDLE works with no other.
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.Proxy = a.proxy })
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(call.region), config.WithHTTPClient(client), config.WithRetryMaxAttempts(2),
		// The services of ECS and EKS have a client of the SDK's own otherwise, which asks the proxy for them.
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = client }))
	if err != nil {
		return credential{}, err
	}
	id, err := cfg.Credentials.Retrieve(ctx)
	// Whoever has a role to assume has an identity, and wants to know what is wrong with it.
	if op, ok := errors.AsType[*smithy.OperationError](err); ok && op.ServiceID != "ec2imds" {
		return credential{}, fmt.Errorf("the identity of AWS was refused by %s %s", op.ServiceID, op.OperationName)
	}
	if err != nil {
		return credential{}, none(errors.New("no identity of AWS was found in the environment, its files or metadata services"))
	}
	return a.password(ctx, cfg.HTTPClient, call, id)
}

// ecrAnswer has a list for private registries and one entry for the public one.
type ecrAnswer struct {
	AuthorizationData ecrData `json:"authorizationData"`
}

type ecrEntry struct {
	Token   string  `json:"authorizationToken"`
	Expires float64 `json:"expiresAt"`
}

func (a *amazon) password(ctx context.Context, client doer, call ecrCall, id aws.Credentials) (credential, error) {
	const body = "{}"
	base := a.base
	if base == "" {
		base = "https://" + call.host
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/", strings.NewReader(body))
	if err != nil {
		return credential{}, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", call.target)
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, id, req, hex.EncodeToString(sum[:]), call.service, call.region, time.Now()); err != nil {
		return credential{}, fmt.Errorf("sign the request to %s: %w", call.host, err)
	}
	var answer ecrAnswer
	if err := ask(client, req, &answer); err != nil {
		return credential{}, err
	}
	e := ecrEntry(answer.AuthorizationData)
	b, err := base64.StdEncoding.DecodeString(e.Token)
	user, password, ok := strings.Cut(string(b), ":")
	if err != nil || !ok {
		return credential{}, fmt.Errorf("%s gave no password", call.host)
	}
	return credential{authn.AuthConfig{Username: user, Password: password}, time.Unix(int64(e.Expires), 0)}, nil
}

// ecrData reads one entry, or the first of a list.
type ecrData ecrEntry

// UnmarshalJSON implements json.Unmarshaler.
func (d *ecrData) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		var list []ecrEntry
		if err := json.Unmarshal(b, &list); err != nil || len(list) == 0 {
			return err
		}
		*d = ecrData(list[0])
		return nil
	}
	return json.Unmarshal(b, (*ecrEntry)(d))
}
