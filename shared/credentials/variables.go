package credentials

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// variables makes an entry of each pair KANIKO_<HOST>_USER and
// KANIKO_<HOST>_PASSWORD. Which hosts one is for cannot be seen from its name
// ("-" and "." are both "_"), so each is tried against the names of the target.
func variables(environ []string) []entry {
	values := make(map[string]string)
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok && strings.HasPrefix(name, "KANIKO_") {
			values[name] = value
		}
	}
	var es []entry
	for name, user := range values {
		stem, ok := strings.CutSuffix(strings.TrimPrefix(name, "KANIKO_"), "_USER")
		password, both := values["KANIKO_"+stem+"_PASSWORD"]
		if !ok || !both || stem == "" || user == "" {
			continue
		}
		es = append(es, entry{
			origin: name,
			fits:   func(t scope) (int, bool) { return stemFits(t.host, stem) },
			get:    always(authn.AuthConfig{Username: user, Password: password}),
		})
	}
	return es
}

// stemFits tells whether kaniko's lookup for a host would try a variable: the
// host in capitals, "-" and "." as "_", whole or from a later label on. A port
// is part of the name, with ":" as "_" too: a credential is for one port. The
// rank falls with every label left out.
func stemFits(host, stem string) (rank int, ok bool) {
	for {
		s := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(host))
		if s == stem || strings.ReplaceAll(s, ":", "_") == stem {
			return rank, true
		}
		_, rest, more := strings.Cut(host, ".")
		if !more {
			return 0, false
		}
		host, rank = rest, rank-1
	}
}
