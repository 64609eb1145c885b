package cli

import (
	"strings"
	"testing"
)

func TestUserAgent(t *testing.T) {
	own := userAgent("")
	if !strings.HasPrefix(own, "strake/") {
		t.Errorf("got %q", own)
	}
	for upstream, want := range map[string]string{"skaffold": own + ",skaffold", "a\r\nb: c": own + ",ab: c"} {
		if got := userAgent(upstream); got != want {
			t.Errorf("%q: got %q, want %q", upstream, got, want)
		}
	}
}
