package cosign

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What cosign calls a pair of keys among the variables of a project on GitLab.
func gitlabVariables() map[string]string {
	return map[string]string{secretPrivate: "COSIGN_PRIVATE_KEY", secretPublic: "COSIGN_PUBLIC_KEY", secretPassword: "COSIGN_PASSWORD"}
}

// byGitLab reads what gitlab://PROJECT names, as cosign writes it: by the API of GITLAB_HOST, or of the job's GitLab,
// with the token GITLAB_TOKEN. A password that is not there is in COSIGN_PASSWORD, or asked for.
func (k Keys) byGitLab(ctx context.Context, ref, part string) (map[string][]byte, error) {
	project := strings.Trim(strings.TrimPrefix(ref, "gitlab://"), "/")
	if project == "" {
		return nil, fmt.Errorf("key %s: want gitlab://PROJECT, its path or number", ref)
	}
	token, ok := k.Lookup("GITLAB_TOKEN")
	if !ok || token == "" {
		return nil, fmt.Errorf("key %s: GITLAB_TOKEN is not set; variables are shown to an access token with the scope read_api", ref)
	}
	base, ok := k.Lookup("GITLAB_HOST")
	if !ok || base == "" {
		if base, ok = k.Lookup("CI_SERVER_URL"); !ok || base == "" {
			base = "https://gitlab.com"
		}
	}
	if !strings.Contains(base, "://") {
		base = "https://" + base
	}
	wanted := []string{part}
	if part == secretPrivate {
		wanted = append(wanted, secretPassword)
	}
	all := map[string][]byte{}
	for _, p := range wanted {
		name := gitlabVariables()[p]
		value, err := gitlabVariable(ctx, strings.TrimRight(base, "/")+"/api/v4/projects/"+url.PathEscape(project)+"/variables/"+name, token)
		if isStatus(err, http.StatusNotFound) && p == secretPassword {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key %s: variable %s: %w", ref, name, err)
		}
		all[p] = value
	}
	if len(all[part]) == 0 {
		return nil, fmt.Errorf("key %s: the variable %s is empty", ref, gitlabVariables()[part])
	}
	return all, nil
}

func gitlabVariable(ctx context.Context, at, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("PRIVATE-TOKEN", token)
	// A redirect would take the token along.
	c := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp)
	}
	defer resp.Body.Close()
	var v struct {
		Value string `json:"value"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&v); err != nil {
		return nil, fmt.Errorf("the answer is no variable: %w", err)
	}
	return []byte(v.Value), nil
}
