package registrytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Auth is what the server asks for. The zero value asks for nothing.
type Auth struct {
	User, Password string
	// Bearer asks for a token of the server's own token service, which gives
	// one for User and Password only.
	Bearer bool
	// Realm is the token service that is named; "" means the server's own.
	Realm string
	// Life is what tokens say they are good for, in seconds; 0 says nothing.
	// They are good until Expire.
	Life int
	// Identity, if set, is a refresh token that is as good as User and Password.
	Identity string
	// May, if set, limits what tokens are given for: a repository and "pull" or "push".
	May func(repo, action string) bool
}

// Require asks for credentials from now on.
func (s *Server) Require(a Auth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth = &a
}

// Expire makes all tokens invalid.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// admit lets a request pass, or answers it.
func (s *Server) admit(w http.ResponseWriter, req *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.auth
	if a == nil {
		return true
	}
	user, pass, _ := req.BasicAuth()
	known := user == a.User && pass == a.Password
	if a.Identity != "" && req.Method == http.MethodPost {
		known = req.FormValue("refresh_token") == a.Identity
	}
	if req.URL.Path == "/token" {
		s.token(w, req, known)
		return false
	}
	if !a.Bearer {
		if !known {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			refuse(w)
		}
		return known
	}
	need := scope(req)
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	if have, ok := s.tokens[token]; ok && (need == "" || slices.Contains(have, need)) {
		return true
	}
	realm := a.Realm
	if realm == "" {
		realm = s.http.URL + "/token"
	}
	challenge := fmt.Sprintf(`Bearer realm="%s",service="test"`, realm)
	if repo, action, ok := strings.Cut(need, ":"); ok {
		challenge += fmt.Sprintf(`,scope="repository:%s:%s"`, repo, action)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	refuse(w)
	return false
}

// scope is the right that a request needs, as "repo:action"; "" for the ping.
func scope(req *http.Request) string {
	repo := strings.TrimPrefix(req.URL.Path, "/v2/")
	for _, sep := range []string{"/manifests/", "/blobs/", "/referrers/", "/tags/"} {
		if i := strings.Index(repo, sep); i >= 0 {
			action := "pull"
			if req.Method != http.MethodGet && req.Method != http.MethodHead {
				action = "push"
			}
			return repo[:i] + ":" + action
		}
	}
	return ""
}

func (s *Server) token(w http.ResponseWriter, req *http.Request, known bool) {
	if !known {
		refuse(w)
		return
	}
	var have []string
	scopes := req.URL.Query()["scope"]
	if req.Method == http.MethodPost {
		scopes = strings.Fields(req.FormValue("scope"))
	}
	for _, sc := range scopes {
		parts := strings.Split(sc, ":")
		if len(parts) != 3 {
			continue
		}
		for action := range strings.SplitSeq(parts[2], ",") {
			if s.auth.May == nil || s.auth.May(parts[1], action) {
				have = append(have, parts[1]+":"+action)
			}
		}
	}
	t := fmt.Sprintf("token-%d", len(s.log))
	s.tokens[t] = have
	answer := map[string]any{"token": t}
	if s.auth.Life > 0 {
		answer["expires_in"] = s.auth.Life
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
}
