package buildcontext_test

import (
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/buildcontext"
)

func TestAddresses(t *testing.T) {
	for ref, want := range map[string]string{
		"ftp://h/x":                              "ftp://",
		"tar://":                                 "want tar://FILE",
		"gs://":                                  "bucket",
		"s3:///key":                              "bucket",
		"s3://a@b/key":                           "bucket",
		"oci://UPPER/x":                          "reference",
		"git://h/r#main#abc":                     "40 hexadecimal",
		"https://h/r.git?x=1":                    "?x=",
		"https://h/r.git?ref=--up":               "invalid git ref",
		"https://h/r.git?ref=a#b":                "says b, too",
		"ssh://-oProxyCommand=x/y":               "host",
		"git+ftp://h/x":                          "git+ftp",
		"https://acct.blob.core.windows.net/":    "CONTAINER/BLOB",
		"https://u@acct.blob.core.windows.net/c": "CONTAINER/BLOB",
	} {
		_, err := buildcontext.New(ref, buildcontext.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for _, ref := range []string{
		"", "/w", "dir:///w", "tar:///x", "tar://stdin", "tar://-", "https://h/x", "http://h/x.tgz", "gs://b", "gcs://b/o", "s3://b/k/x y",
		"git://h/r", "git://h/r#refs/heads/main", "git://h/r#main#0123456789012345678901234567890123456789", "https://h/r.git#main:sub",
		"https://h/r.git?ref=v1&subdir=x&submodules=false", "ssh://git@h/r", "git@h:r.git#v1", "https://acct.blob.core.windows.net/c/x?sig=y",
		"oci://h/r:1", "oci://h/r@sha256:" + strings.Repeat("0", 64),
	} {
		if _, err := buildcontext.New(ref, buildcontext.Options{}); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for _, o := range []buildcontext.Options{{Checksum: "md5:x"}, {Checksum: "sha256:x"}, {Checksum: "x"}} {
		if _, err := buildcontext.New("https://h/x", o); err == nil {
			t.Errorf("%v: no error", o)
		}
	}
	// Secrets in an address reach no error.
	for _, ref := range []string{"https://user:hunter2@h/r.git?x=1", "https://u:hunter2@acct.blob.core.windows.net/", "ftp://u:hunter2@h", "https://u:hunter2@h/r.git?ref=--x"} {
		if _, err := buildcontext.New(ref, buildcontext.Options{}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
