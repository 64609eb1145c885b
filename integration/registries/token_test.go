package registries

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokenService gives tokens as distribution's token specification has them, over HTTP and HTTPS.
type tokenService struct {
	plain, secure string
	key           *pair

	mu    sync.Mutex
	count int
}

func newTokenService(t testing.TB, ca *pair) *tokenService {
	t.Helper()
	s := &tokenService{key: newPair(t, "token service", ca)}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	cert, err := tls.LoadX509KeyPair(s.key.crt, s.key.pem)
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewUnstartedServer(s)
	hs.Config.ErrorLog = log.New(io.Discard, "", 0)
	hs.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	hs.StartTLS()
	t.Cleanup(hs.Close)
	s.plain, s.secure = h.URL, hs.URL
	return s
}

type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// life is how long a token is good: short, so that a push needs several.
const life = 3 * time.Second

func (s *tokenService) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if u, p, _ := req.BasicAuth(); u != user || p != password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	s.count++
	id := fmt.Sprint(s.count)
	s.mu.Unlock()
	var may []access
	for _, scope := range req.URL.Query()["scope"] {
		if parts := strings.Split(scope, ":"); len(parts) == 3 {
			may = append(may, access{parts[0], parts[1], strings.Split(parts[2], ",")})
		}
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "test", "aud": "test", "sub": user, "jti": id, "access": may,
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(life).Unix(),
	})
	token.Header["x5c"] = []string{base64.StdEncoding.EncodeToString(s.key.cert.Raw)}
	text, err := token.SignedString(s.key.key)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token": text, "expires_in": int(life / time.Second)})
}
