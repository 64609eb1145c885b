package credentials

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// configFile is what of docker's config.json and of containers-auth.json(5)
// is about credentials.
type configFile struct {
	Auths       map[string]login  `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

type login struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// longestFile is how large a config file may be; a Kubernetes secret has 1 MiB at most.
const longestFile = 4 << 20

func (s Sources) inline() ([]entry, error) {
	if strings.TrimSpace(s.Inline) == "" {
		return nil, nil
	}
	return s.config("DOCKER_AUTH_CONFIG", []byte(s.Inline))
}

func (s Sources) file(path string) ([]entry, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case errors.Is(err, os.ErrPermission):
		// Another user's home, as HOME often is in a container that runs as any user.
		if s.Notice != nil {
			s.Notice(fmt.Sprintf("credentials: %v: passed over", err))
		}
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSources, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, longestFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSources, err)
	case len(b) > longestFile:
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrSources, path, longestFile)
	case strings.TrimSpace(string(b)) == "":
		return nil, nil
	}
	return s.config(path, b)
}

// config makes entries of a file. Of one scope, a helper named for it goes
// first, then what stands in the file, then the store of all.
func (s Sources) config(origin string, text []byte) ([]entry, error) {
	var c configFile
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%w: %s is not a docker config.json: %w", ErrSources, origin, withoutText(err))
	}
	var es []entry
	for _, key := range slices.Sorted(maps.Keys(c.CredHelpers)) {
		es = append(es, s.helper(origin, key, c.CredHelpers[key]))
	}
	for _, key := range slices.Sorted(maps.Keys(c.Auths)) {
		l := c.Auths[key]
		es = append(es, entry{
			fits: parseScope(key).fits, origin: fmt.Sprintf("%s, entry %s", origin, key),
			get: func(context.Context, scope) (authn.AuthConfig, time.Time, error) {
				a, err := l.config()
				return a, time.Time{}, err
			},
		})
	}
	if c.CredsStore != "" {
		es = append(es, s.store(origin, c.CredsStore, slices.Sorted(maps.Keys(c.Auths))))
	}
	return es, nil
}

// config takes the forms apart. An empty entry only says that a store has it.
func (l login) config() (authn.AuthConfig, error) {
	c := authn.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken, RegistryToken: l.RegistryToken}
	if l.Auth != "" {
		var err error
		if c.Username, c.Password, err = decodeAuth(l.Auth); err != nil {
			return c, err
		}
	}
	// Docker's placeholder for an identity token.
	if c.Username == tokenUser && c.IdentityToken == "" {
		c.IdentityToken, c.Password = c.Password, ""
	}
	if c == (authn.AuthConfig{}) {
		return c, ErrNone
	}
	return c, nil
}

var errAuth = errors.New(`its "auth" is not the base64 of user:password`)

func decodeAuth(s string) (user, password string, err error) {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(s), "="))
	if err != nil {
		return "", "", errAuth
	}
	user, password, ok := strings.Cut(string(b), ":")
	if !ok || user == "" {
		return "", "", errAuth
	}
	// Old versions of docker padded with zeros.
	return user, strings.Trim(password, "\x00"), nil
}

// withoutText says where a JSON text is wrong and quotes nothing of it.
func withoutText(err error) error {
	if se, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("not JSON at byte %d", se.Offset)
	}
	if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%q has the wrong type at byte %d", te.Field, te.Offset)
	}
	return errors.New("not JSON")
}
