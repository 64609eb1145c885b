package clouds

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/strake-build/strake/integration/testkit"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

const (
	role     = "arn:aws:iam::123456789012:role/builder"
	ecr      = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	awsToken = "c4n4ry-token"
)

// TestInsideAmazon takes a context from S3, which checks signatures (versitygw), and pushes to ECR.
func TestInsideAmazon(t *testing.T) {
	w := newWorld(t)
	root, port := t.TempDir(), testkit.FreePort(t)
	for _, d := range []string{"bucket", "iam"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Serve(t, port, []string{"ROOT_ACCESS_KEY=AKID", "ROOT_SECRET_KEY=c4n4ry-secret"}, store("versitygw"),
		"--port", "127.0.0.1:"+port, "--region", "eu-west-1", "posix", "--nometa", root)
	if err := os.WriteFile(filepath.Join(root, "bucket", "context.tar.gz"), w.archive(), 0o644); err != nil {
		t.Fatal(err)
	}
	s3 := w.local(behind("http://127.0.0.1:"+port, func(rw http.ResponseWriter, r *http.Request) bool { return signed(rw, r, "127.0.0.1:"+port) }))
	registry := registrytest.New(t)
	registry.Require(registrytest.Auth{User: "AWS", Password: "c4n4ry-password"})
	w.named(ecr, behind(registry.Server().URL, pass))
	w.named("api.ecr.eu-west-1.amazonaws.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKID/") || r.Header.Get("X-Amz-Security-Token") != "c4n4ry-session" {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		password := base64.StdEncoding.EncodeToString([]byte("AWS:c4n4ry-password"))
		fmt.Fprintf(rw, `{"authorizationData":[{"authorizationToken":%q,"expiresAt":%d}]}`, password, time.Now().Add(time.Hour).Unix())
	}))
	w.try([]identity{
		{name: "web identity", prepare: webIdentity},
		{name: "metadata", prepare: func(w *world) []string {
			w.link("169.254.169.254", instance())
			return nil
		}},
		{name: "metadata elsewhere", prepare: func(w *world) []string {
			return []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + w.local(instance())}
		}},
		{name: "ECS", prepare: func(w *world) []string {
			w.link("169.254.170.2", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				answer(rw, r.URL.Path == "/v2/credentials/1", session())
			}))
			return []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/1"}
		}},
		{name: "EKS pod identity", prepare: func(w *world) []string {
			w.link("169.254.170.23", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				answer(rw, r.URL.Path == "/v1/credentials" && r.Header.Get("Authorization") == awsToken, session())
			}))
			return []string{
				"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/v1/credentials",
				"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + w.file("token", awsToken),
			}
		}},
	}, "s3://bucket", ecr+"/app:1", []string{"S3_ENDPOINT=" + s3, "S3_FORCE_PATH_STYLE=true", "AWS_REGION=eu-west-1"})

	// Who has a role learns that it was refused.
	w.Run("refused", func(t *testing.T) {
		w := w.with(t)
		env := append(webIdentity(w), "S3_ENDPOINT="+s3, "S3_FORCE_PATH_STYLE=true", "AWS_REGION=eu-west-1",
			"AWS_WEB_IDENTITY_TOKEN_FILE="+w.file("other", "of somebody else"))
		for _, args := range [][]string{{"--context", "s3://bucket", "--no-push"}, {"--context", "s3://bucket", "--destination", ecr + "/app:1"}} {
			code, text := w.run(env, args...)
			if code != 77 || !strings.Contains(text, "STS AssumeRoleWithWebIdentity") || strings.Contains(text, "of somebody else") {
				t.Errorf("%v: exit code %d, want 77 and STS\n%s", args, code, text)
			}
		}
	})
}

// signed checks that a request is signed with a session's keys, and signs it with those that last, which is all that versitygw knows.
func signed(rw http.ResponseWriter, r *http.Request, host string) bool {
	given := r.Header.Get("Authorization")
	when, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if given == "" || err != nil {
		return true // versitygw refuses it
	}
	keys := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "c4n4ry-secret", SessionToken: r.Header.Get("X-Amz-Security-Token")}
	again := func() error {
		return v4.NewSigner().SignHTTP(r.Context(), keys, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", "eu-west-1", when, func(o *v4.SignerOptions) {
			o.DisableURIPathEscaping = true
		})
	}
	sent := r.Header.Clone()
	_, names, _ := strings.Cut(given, "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	for name := range r.Header {
		if !slices.Contains(strings.Split(names, ";"), strings.ToLower(name)) {
			r.Header.Del(name)
		}
	}
	r.URL.Host = r.Host
	if err := again(); err != nil || r.Header.Get("Authorization") != given || keys.SessionToken != "c4n4ry-session" {
		rw.WriteHeader(http.StatusForbidden)
		return false
	}
	r.Header = sent
	r.Header.Del("Authorization")
	r.Header.Del("X-Amz-Security-Token")
	keys.SessionToken = ""
	r.Host, r.URL.Host = host, host
	return again() == nil
}

func pass(http.ResponseWriter, *http.Request) bool { return true }

// answer answers, or refuses.
func answer(rw http.ResponseWriter, ok bool, text string) {
	rw.Header().Set("Content-Type", "application/json")
	if !ok {
		rw.WriteHeader(http.StatusForbidden)
		return
	}
	_, _ = rw.Write([]byte(text))
}

// session are keys for a while, as metadata services give them.
func session() string {
	return fmt.Sprintf(`{"Code":"Success","AccessKeyId":"AKID","SecretAccessKey":"c4n4ry-secret","Token":"c4n4ry-session","Expiration":%q}`, soon())
}

func soon() string { return time.Now().Add(time.Hour).UTC().Format(time.RFC3339) }

// webIdentity is what IRSA gives a pod: a token, for which STS gives keys.
func webIdentity(w *world) []string {
	sts := w.local(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("Action") != "AssumeRoleWithWebIdentity" || r.PostFormValue("RoleArn") != role || r.PostFormValue("WebIdentityToken") != awsToken {
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(rw, `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>No</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(rw, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>AKID</AccessKeyId><SecretAccessKey>c4n4ry-secret</SecretAccessKey><SessionToken>c4n4ry-session</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, soon())
	}))
	return []string{"AWS_ROLE_ARN=" + role, "AWS_WEB_IDENTITY_TOKEN_FILE=" + w.file("token", awsToken), "AWS_ENDPOINT_URL_STS=" + sts}
}

// instance is the metadata service of EC2, in its second version only.
func instance() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		const keys = "/latest/meta-data/iam/security-credentials/"
		asked := r.Header.Get("X-Aws-Ec2-Metadata-Token") == awsToken
		switch r.URL.Path {
		case "/latest/api/token":
			rw.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			answer(rw, r.Method == http.MethodPut && r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") != "", awsToken)
		case keys:
			answer(rw, asked, "builder")
		case keys + "builder":
			answer(rw, asked, session())
		default:
			rw.WriteHeader(http.StatusNotFound)
		}
	})
}
