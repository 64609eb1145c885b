package registry

import (
	"errors"
	"net/http"
	"testing"
)

// go-containerregistry would speak plain HTTP to any private address.
func TestWayRefusesPlainHTTP(t *testing.T) {
	reached := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})
	for _, host := range []string{"10.0.0.1", "192.168.1.1:5000", "r.io"} {
		for _, plain := range []bool{false, true} {
			w := &way{host: host, plain: plain, own: reached, others: reached}
			for scheme, ok := range map[string]bool{"https": true, "http": plain} {
				for _, at := range []string{host, "token.example"} {
					req, err := http.NewRequest(http.MethodGet, scheme+"://"+at+"/v2/", nil)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := w.RoundTrip(req); (err == nil) != ok || err != nil && !errors.Is(err, errPlain) {
						t.Errorf("%s, plain %v: %s: %v", host, plain, req.URL, err)
					}
				}
			}
		}
	}
	p, err := newPlainHTTP(Options{InsecureRegistries: []string{"docker.io"}})
	if err != nil {
		t.Fatal(err)
	}
	for host, ok := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:1": true, "127.8.9.1": true, "[::1]:5000": true,
		"x.localhost": true, "index.docker.io": true, "10.0.0.1": false, "localhost.example": false, "r.io": false,
	} {
		if p.allowed(pull, host) != ok || p.allowed(push, host) != ok {
			t.Errorf("%s: want %v", host, ok)
		}
	}
}
