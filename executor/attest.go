package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/export"
	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/sbom"
)

// The places for what is told of an image.
const (
	toReferrer = "referrer"
	toIndex    = "index"
	toDir      = "dir="
)

// attestations reads what is to be told of the image, and whether there is a
// place for it.
func (p *parser) attestations(format image.Format) build.Attestations {
	a := build.Attestations{SBOM: p.sboms()}
	var err error
	if a.Provenance, err = parseProvenance(p.x.String("provenance")); err != nil {
		p.fail("--provenance %s: %w", p.x.String("provenance"), err)
	}
	a.Provenance.Invocation = invocation(os.Getenv)
	names, _ := destinations(p.x)
	for _, n := range names {
		a.Names = append(a.Names, build.Name{Repository: n.Familiar(), Tag: n.Tag})
	}
	to := p.x.StringSlice("attestation-to")
	wanted := a.Provenance.Mode != attest.Off || len(a.SBOM) > 0
	if !wanted {
		if len(to) > 0 {
			p.fail("--attestation-to %s: there is nothing to put there; ask for --provenance or --sbom", to[0])
		}
		return a
	}
	if mode := os.Getenv(metadataProvenance); !slices.Contains(append(buildxDisabled(), "", "min", "max"), mode) {
		p.fail("%s=%s: want min, max or disabled", metadataProvenance, mode)
	}
	if len(to) == 0 {
		to = []string{toReferrer}
	}
	for _, t := range to {
		if err := p.place(t, format); err != nil {
			p.fail("--attestation-to %s: %w", t, err)
		}
	}
	a.Index = slices.Contains(to, toIndex)
	return a
}

// place tells whether the build's outputs can carry attestations so.
func (p *parser) place(to string, format image.Format) error {
	x := p.x
	pushes := len(x.StringSlice("destination")) > 0 && !x.Bool("no-push")
	switch {
	case strings.HasPrefix(to, toDir) && len(to) > len(toDir):
		return nil
	case to == toReferrer && !pushes && x.String("oci-layout-path") == "":
		return errors.New("referrers are in registries and OCI layouts; give a --destination or --oci-layout-path, or --attestation-to dir=DIR")
	case to == toReferrer:
		return nil
	case to == toIndex && x.String("tar-path") != "":
		return errors.New("docker load takes one image from --tar-path, and no index; use --oci-layout-path, or --attestation-to dir=DIR")
	case to == toIndex && format == image.Docker:
		return errors.New("a manifest list of Docker's has no annotations to know attestations by; use --image-format oci, or --attestation-to referrer")
	case to == toIndex:
		return nil
	}
	return errors.New("want referrer, index or dir=DIR")
}

// parseProvenance reads a mode alone, or buildx's list of fields.
func parseProvenance(s string) (o attest.Options, err error) {
	if mode, ok := provenanceMode(s); ok {
		return attest.Options{Mode: mode}, nil
	}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return o, err
	}
	o.Mode = attest.Min
	for _, f := range fields {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			return o, fmt.Errorf("%q is no KEY=VALUE, and none of off, min, max", f)
		}
		switch k {
		case "mode":
			if o.Mode, ok = provenanceMode(v); !ok || o.Mode == attest.Off {
				return o, fmt.Errorf("mode %q: it is min or max", v)
			}
		case "builder-id":
			o.BuilderID = v
		case "version":
			if v != "v1" {
				return o, fmt.Errorf("version %q: SLSA v1 is written", v)
			}
		case "disabled":
			off, err := strconv.ParseBool(v)
			if err != nil {
				return o, fmt.Errorf("disabled=%s: not true or false", v)
			}
			if off {
				return attest.Options{}, nil
			}
		default:
			return o, fmt.Errorf("%s is not known; there are mode, builder-id, version and disabled", k)
		}
	}
	return o, nil
}

func provenanceMode(s string) (attest.Mode, bool) {
	switch s {
	case "", "off", "false":
		return attest.Off, true
	case "min", "true":
		return attest.Min, true
	case "max":
		return attest.Max, true
	}
	return attest.Off, false
}

// sboms reads the formats of lists.
func (p *parser) sboms() (out []sbom.Format) {
	for s := range strings.SplitSeq(p.x.String("sbom"), ",") {
		switch s {
		case "", "off", "false":
		case "true", "spdx":
			out = append(out, sbom.SPDX)
		case "cyclonedx":
			out = append(out, sbom.CycloneDX)
		default:
			if strings.HasPrefix(s, "generator=") {
				p.fail("--sbom %s: the builder looks through the layers itself; want spdx or cyclonedx", s)
				continue
			}
			p.fail("--sbom %s: not one of off, spdx, cyclonedx", s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// invocation is the address of the pipeline's run, where its system tells one.
func invocation(getenv func(string) string) string {
	if repo, id := getenv("GITHUB_REPOSITORY"), getenv("GITHUB_RUN_ID"); repo != "" && id != "" {
		s := getenv("GITHUB_SERVER_URL") + "/" + repo + "/actions/runs/" + id
		if n := getenv("GITHUB_RUN_ATTEMPT"); n != "" {
			s += "/attempts/" + n
		}
		return s
	}
	for _, name := range []string{"CI_JOB_URL", "BUILDKITE_BUILD_URL", "BUILD_URL"} {
		if s := getenv(name); s != "" {
			return s
		}
	}
	return ""
}

// attach puts what is told of the image where it was asked for.
func (o *outputs) attach(x *cli.Context, all []build.Attested) error {
	if len(all) == 0 {
		return nil
	}
	to := x.StringSlice("attestation-to")
	if len(to) == 0 || slices.Contains(to, toReferrer) {
		var manifests []v1.Image
		for _, a := range all {
			manifests = append(manifests, a.Manifest)
		}
		if o.push != nil {
			o.push.Referrers = manifests
		}
		for _, w := range o.ways {
			if l, ok := w.(*export.Layout); ok {
				l.Referrers = manifests
			}
		}
	}
	o.documents = nil
	for _, t := range to {
		dir, ok := strings.CutPrefix(t, toDir)
		if !ok {
			continue
		}
		files, err := documents(all)
		if err != nil {
			return err
		}
		o.documents = append(o.documents, &export.Documents{Dir: dir, Files: files})
	}
	return nil
}

// documents are statements as files, named as buildx names them: those of several
// platforms in a directory for each.
func documents(all []build.Attested) (map[string][]byte, error) {
	names := map[string]string{attest.TypeProvenance: "provenance.json", attest.TypeSPDX: "sbom.spdx.json", attest.TypeCycloneDX: "sbom.cdx.json"}
	out := make(map[string][]byte)
	for _, a := range all {
		dir := ""
		if len(all) > 1 {
			dir = strings.ReplaceAll(a.Platform, "/", "_")
		}
		for _, s := range a.Statements {
			raw, err := json.Marshal(s)
			if err != nil {
				return nil, fmt.Errorf("write statement: %w", err)
			}
			out[filepath.Join(dir, names[s.PredicateType])] = append(raw, '\n')
		}
	}
	return out, nil
}

// metadataProvenance is buildx's variable: how much of the provenance stands in
// the metadata file. Without it, all does.
const metadataProvenance = "BUILDX_METADATA_PROVENANCE"

// provenanceKeys are buildx's keys of the metadata file.
func provenanceKeys(all []build.Attested, mode string) (map[string]any, error) {
	m := make(map[string]any)
	if slices.Contains(buildxDisabled(), mode) {
		return m, nil
	}
	for _, a := range all {
		key := "buildx.build.provenance"
		if len(all) > 1 {
			key += "/" + a.Platform
		}
		for _, s := range a.Statements {
			if s.PredicateType != attest.TypeProvenance {
				continue
			}
			m[key] = s.Predicate
			if mode == string(attest.Min) {
				least, err := attest.Least(s.Predicate)
				if err != nil {
					return nil, err
				}
				m[key] = least
			}
		}
	}
	return m, nil
}

func buildxDisabled() []string { return []string{"disabled", "false", "0"} }
