package cosign

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// What cosign calls the parts of a secret that holds a pair of keys.
const (
	secretPrivate  = "cosign.key"
	secretPublic   = "cosign.pub"
	secretPassword = "cosign.password"
)

// serviceAccount is where a pod finds its own.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

var secretName = regexp.MustCompile(`^k8s://([a-z0-9][a-z0-9.-]*)/([a-z0-9][a-z0-9.-]*)$`)

// secret reads what k8s://NAMESPACE/NAME names: in a pod by the cluster's API,
// elsewhere by kubectl, which knows how to log in.
func (k Keys) secret(ctx context.Context, ref, part string) (map[string][]byte, error) {
	if strings.HasPrefix(ref, "gitlab://") {
		return k.byGitLab(ctx, ref, part)
	}
	m := secretName.FindStringSubmatch(ref)
	if m == nil {
		return nil, fmt.Errorf("key %s: want k8s://NAMESPACE/SECRET", ref)
	}
	read := k.byKubectl
	if host, ok := k.Lookup("KUBERNETES_SERVICE_HOST"); ok && host != "" {
		read = k.byAPI
	}
	text, err := read(ctx, m[1], m[2])
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", ref, err)
	}
	defer clear(text)
	var s struct {
		Data map[string][]byte `json:"data"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("key %s: the answer is no secret", ref)
	}
	if len(s.Data[part]) == 0 {
		return nil, fmt.Errorf("key %s: the secret has no %s", ref, part)
	}
	return s.Data, nil
}

func (k Keys) byAPI(ctx context.Context, namespace, name string) ([]byte, error) {
	dir := serviceAccount
	if k.ServiceAccount != "" {
		dir = k.ServiceAccount
	}
	token, err1 := os.ReadFile(filepath.Join(dir, "token"))
	ca, err2 := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("the pod's service account: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s: it has no certificate", filepath.Join(dir, "ca.crt"))
	}
	host, _ := k.Lookup("KUBERNETES_SERVICE_HOST")
	port, ok := k.Lookup("KUBERNETES_SERVICE_PORT")
	if !ok || port == "" {
		port = "443"
	}
	at := fmt.Sprintf("https://%s/api/v1/namespaces/%s/secrets/%s", net.JoinHostPort(host, port), namespace, name)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w; may the pod's service account get this secret?", refusal(resp))
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, 4<<20))
}

func (k Keys) byKubectl(ctx context.Context, namespace, name string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "kubectl", "get", "secret", "--namespace", namespace, name, "--output", "json")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("this is no pod, and there is no kubectl in PATH that would know the cluster")
	}
	if err != nil {
		return nil, fmt.Errorf("kubectl: %w: %.300s", err, strings.TrimSpace(errs.String()))
	}
	return out, nil
}
