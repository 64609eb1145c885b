package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/export"
	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/merge"
)

// parser collects what is wrong with the flags.
type parser struct {
	x      *cli.Context
	errs   []error
	inputs []error // what is wrong with files that they name
}

func (p *parser) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

func (p *parser) err() error {
	if len(p.errs) == 0 {
		return errors.Join(p.inputs...)
	}
	return &shared.UsageError{Err: errors.Join(p.errs...)}
}

// target reads a target, as REPOSITORY[:TAG].
func target(s string) (merge.Target, error) {
	d, err := export.ParseDestination(s)
	if err != nil {
		return merge.Target{}, err
	}
	return merge.Target{Repository: familiar(d.Repository), Tag: d.Tag}, nil
}

// familiar is a repository's name as Docker writes it.
func familiar(r name.Repository) string {
	if rest, ok := strings.CutPrefix(r.Name(), name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return r.Name()
}

// targets reads the targets, and the conditions on their tags.
func (p *parser) targets(all []string) []merge.Target {
	var ts []merge.Target
	for _, s := range all {
		t, err := target(s)
		if err != nil {
			p.errs = append(p.errs, err)
			continue
		}
		ts = append(ts, t)
	}
	for _, s := range list(p.x, "if-tag-digest") {
		p.condition(ts, s)
	}
	return ts
}

// condition reads [TAG=]DIGEST, and sets it on the targets of that tag.
func (p *parser) condition(ts []merge.Target, s string) {
	tag, want, ok := strings.Cut(s, "=")
	if !ok {
		tag, want = "", s
	}
	if want != merge.NoDigest && !strings.HasPrefix(want, "sha256:") {
		p.fail("--if-tag-digest %s: want [TAG=]sha256:…, or none", s)
		return
	}
	met := false
	for i := range ts {
		if tag == "" && i == 0 || tag != "" && tag == ts[i].Tag {
			ts[i].WasDigest, met = want, true
		}
	}
	if !met {
		p.fail("--if-tag-digest %s: no target has this tag", s)
	}
}

// rules reads the checks.
func (p *parser) rules() index.Rules {
	expect, err := index.ParsePlatforms(list(p.x, "expect-platforms"))
	if err != nil {
		p.fail("--expect-platforms: %w", err)
	}
	return index.Rules{
		Expect: expect, AllowExtra: p.x.Bool("allow-extra-platforms"), AllowDuplicates: p.x.Bool("allow-duplicate-platforms"),
		AllowOtherPlatform: p.x.Bool("allow-other-platform"), AllowOtherLabels: p.x.Bool("allow-other-labels"),
		AllowMixedTypes: p.x.Bool("allow-mixed-types"),
	}
}

// annotations reads [index:]KEY=VALUE and manifest-descriptor[PLATFORM]:KEY=VALUE,
// as buildx imagetools has them.
func (p *parser) annotations(flag string) (own map[string]string, entries map[string]map[string]string) {
	own, entries = map[string]string{}, map[string]map[string]string{}
	for _, s := range list(p.x, flag) {
		level, key, value, err := annotation(s)
		if err != nil {
			p.fail("--%s %s: %w", flag, s, err)
			continue
		}
		if level == "" {
			own[key] = value
			continue
		}
		if entries[level] == nil {
			entries[level] = map[string]string{}
		}
		entries[level][key] = value
	}
	return own, entries
}

func annotation(s string) (platform, key, value string, err error) {
	rest := strings.TrimPrefix(s, "index:")
	if after, ok := strings.CutPrefix(s, "manifest-descriptor["); ok {
		if platform, rest, ok = strings.Cut(after, "]:"); !ok {
			return "", "", "", errors.New("want manifest-descriptor[PLATFORM]:KEY=VALUE")
		}
		if _, err := index.ParsePlatform(platform); err != nil {
			return "", "", "", err
		}
	}
	key, value, ok := strings.Cut(rest, "=")
	switch {
	case !ok || key == "":
		return "", "", "", errors.New("want KEY=VALUE")
	case strings.HasPrefix(key, "manifest:") || strings.HasPrefix(key, "manifest-descriptor:"):
		return "", "", "", errors.New("an annotation of an image changes its digest; index: and manifest-descriptor[PLATFORM]: are the levels here")
	}
	return platform, key, value, nil
}
