package attest_test

import (
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/attest"
)

// FuzzAddress: no password that an address has in its usual place is left in what is told of it.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"https://%s@host/x", "https://user:%s@host/x?a=b#c", "git@host:x?token=%s", "ssh://git:%s@host:22/x.git#main", "host/x?sig=%s", "https://host/?X-Amz-Signature=%s#main:sub"} {
		f.Add(s)
	}
	const canary = "c4n4ryc4n4ry"
	f.Fuzz(func(t *testing.T, form string) {
		if strings.Count(form, "%s") != 1 {
			return
		}
		_ = attest.Address(strings.Replace(form, "%s", canary, 1)) // never panics
		for _, at := range []string{"https://" + canary + "@host/", "https://u:" + canary + "@host/", "https://host/?t=" + canary + "&"} {
			if got := attest.Address(at + strings.ReplaceAll(form, "%s", "")); strings.Contains(got, canary) {
				t.Errorf("%q has become %q", at+form, got)
			}
		}
	})
}
