package cosign

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// Tokens finds the identity token that a CI system gives to its jobs.
type Tokens struct {
	// Given is a token, or a file that holds one; it goes before all else.
	Given string
	// Provider is the name of the one place to look at; empty for all, in the order of TokenProviders.
	Provider string
	// Audience is whom the token is for: Fulcio's name for itself, "sigstore".
	Audience string
	// Lookup reads the environment.
	Lookup func(name string) (string, bool)
	// File is where a token is mounted; empty for cosign's usual place.
	File string
	Now  func() time.Time
}

// tokenFile is where cosign looks for a mounted token.
const tokenFile = "/var/run/sigstore/cosign/oidc-token"

// TokenProviders are the places to look at, by cosign's names.
func TokenProviders() []string {
	return []string{"envvar", "github-actions", "buildkite-agent", "filesystem"}
}

// Check tells what is wrong with the provider's name.
func (t *Tokens) Check() error {
	if t.Provider != "" && !slices.Contains(TokenProviders(), t.Provider) {
		return fmt.Errorf("%s: it is one of %s", t.Provider, strings.Join(TokenProviders(), ", "))
	}
	return nil
}

// Token gives a token, for what is signed now.
func (t *Tokens) Token(ctx context.Context) (string, error) {
	token, from, err := t.find(ctx)
	if err != nil {
		return "", err
	}
	token = strings.TrimSpace(token)
	if err := checkToken(token, t.Now()); err != nil {
		return "", fmt.Errorf("identity token from %s: %w", from, err)
	}
	return token, nil
}

func (t *Tokens) find(ctx context.Context) (token, from string, err error) {
	if t.Given != "" {
		if b, err := os.ReadFile(t.Given); err == nil {
			return string(b), t.Given, nil
		}
		return t.Given, "the command line", nil
	}
	for _, p := range TokenProviders() {
		if t.Provider != "" && t.Provider != p {
			continue
		}
		token, from, err := t.from(ctx, p)
		if err != nil {
			return "", "", fmt.Errorf("identity token from %s: %w", from, err)
		}
		if token != "" {
			return token, from, nil
		}
	}
	where := "SIGSTORE_ID_TOKEN is not set (GitLab: id_tokens), GitHub Actions offers none (permissions: id-token: write), nor does Buildkite, and there is no " + t.file()
	if t.Provider != "" {
		where = t.Provider + " offers none"
	}
	return "", "", fmt.Errorf("there is no identity token to sign without a key: %s", where)
}

func (t *Tokens) env(name string) string {
	s, _ := t.Lookup(name)
	return s
}

func (t *Tokens) file() string {
	if t.File != "" {
		return t.File
	}
	return tokenFile
}

// from asks one place. No token and no error is that it has none.
func (t *Tokens) from(ctx context.Context, provider string) (token, from string, err error) {
	switch provider {
	case "envvar":
		return t.env("SIGSTORE_ID_TOKEN"), "SIGSTORE_ID_TOKEN", nil
	case "github-actions":
		token, err = t.github(ctx)
		return token, "GitHub Actions", err
	case "buildkite-agent":
		token, err = t.buildkite(ctx)
		return token, "Buildkite", err
	}
	b, err := os.ReadFile(t.file())
	if errors.Is(err, fs.ErrNotExist) {
		return "", t.file(), nil
	}
	return string(b), t.file(), err
}

func (t *Tokens) github(ctx context.Context) (string, error) {
	at, bearer := t.env("ACTIONS_ID_TOKEN_REQUEST_URL"), t.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if at == "" || bearer == "" {
		return "", nil
	}
	u, err := url.Parse(at)
	if err != nil {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is no address")
	}
	q := u.Query()
	q.Set("audience", t.Audience)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "bearer "+bearer)
	var answer struct {
		Value string `json:"value"`
	}
	err = ask(req, &answer)
	return answer.Value, err
}

func (t *Tokens) buildkite(ctx context.Context) (string, error) {
	access, job := t.env("BUILDKITE_AGENT_ACCESS_TOKEN"), t.env("BUILDKITE_JOB_ID")
	if access == "" || job == "" {
		return "", nil
	}
	endpoint := t.env("BUILDKITE_AGENT_ENDPOINT")
	if endpoint == "" {
		endpoint = "https://agent.buildkite.com/v3"
	}
	body, err := json.Marshal(map[string]string{"audience": t.Audience})
	if err != nil {
		return "", err
	}
	at := strings.TrimRight(endpoint, "/") + "/jobs/" + url.PathEscape(job) + "/oidc/tokens"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(string(body)))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Token "+access)
	req.Header.Set("Content-Type", "application/json")
	var answer struct {
		Token string `json:"token"`
	}
	err = ask(req, &answer)
	return answer.Token, err
}

// ask sends a request to a service that answers in JSON. What it answers
// instead is told; what was sent is not.
func ask(req *http.Request, into any) error {
	resp, err := services().Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return refusal(resp)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s answers with something else than JSON", req.URL.Host)
	}
	return nil
}

// statusError is an answer that is a refusal.
type statusError struct {
	host string
	code int
	text string
}

func (e *statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s answers %d %.300s", e.host, e.code, strings.Join(strings.Fields(e.text), " ")))
}

// isStatus tells whether an error is an answer with this status.
func isStatus(err error, code int) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.code == code
}

// checkToken looks at a token as far as that needs no key. Whether it is
// genuine is for Fulcio to find out.
func checkToken(token string, now time.Time) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("it is no JSON web token")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return errors.New("it is no JSON web token")
	}
	var claims struct {
		Expiry float64 `json:"exp"`
	}
	if err := json.Unmarshal(b, &claims); err != nil {
		return errors.New("it is no JSON web token")
	}
	if end := time.Unix(int64(claims.Expiry), 0); claims.Expiry != 0 && now.After(end) {
		return fmt.Errorf("it has been good until %s", end.UTC().Format(time.RFC3339))
	}
	return nil
}
