package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/strake-build/strake/shared/attest"
)

// Format is how a list is written.
type Format string

// The formats: SPDX 2.3 and CycloneDX 1.6, both as JSON.
const (
	SPDX      Format = "spdx"
	CycloneDX Format = "cyclonedx"
)

// About is what is said of the list itself and of the image.
type About struct {
	Digest        v1.Hash // of the image's manifest
	Name, Version string  // of the image: repository and tag; may be empty
	Created       time.Time
	Tool          string // "strake-1.0"
}

// Write writes the list. Equal lists of equal images of equal time are equal.
func (s *Found) Write(f Format, a About) ([]byte, error) {
	var raw []byte
	var err error
	switch f {
	case SPDX:
		raw, err = json.Marshal(s.spdx(a))
	case CycloneDX:
		raw, err = s.cyclonedx(a)
	default:
		return nil, fmt.Errorf("format %q: it is spdx or cyclonedx", string(f))
	}
	if err != nil {
		return nil, fmt.Errorf("write the list as %s: %w", f, err)
	}
	return raw, nil
}

// name is what the image is called.
func (a About) name() string { return cmp.Or(a.Name, a.Digest.String()) }

// url is the image's package URL.
func (a About) url() string { return attest.Name(cmp.Or(a.Name, "image"), a.Digest.String(), "") }

// id names a package in a document: the same package at the same place has the same.
func (p Package) id() string {
	sum := sha256.Sum256([]byte(p.URL() + "\x00" + p.Path))
	return hex.EncodeToString(sum[:8])
}

// unread tells of what is missing.
func (s *Found) unread() string {
	if len(s.Notices) == 0 {
		return ""
	}
	return "Not read: " + strings.Join(s.Notices, "; ")
}

const (
	noAssertion = "NOASSERTION"
	imageID     = "Image"
)

func (s *Found) spdx(a About) *v2_3.Document {
	tool, version, _ := strings.Cut(a.Tool, "-")
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: a.name(),
		DocumentNamespace: "https://github.com/strake-build/strake/sbom/" + a.Digest.Algorithm + "-" + a.Digest.Hex,
		CreationInfo: &v2_3.CreationInfo{
			Created:  a.Created.UTC().Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: tool + "-" + version}},
		},
		DocumentComment: s.unread(),
	}
	top := &v2_3.Package{
		PackageName: a.name(), PackageVersion: a.Version, PackageSPDXIdentifier: imageID, PackageDownloadLocation: noAssertion,
		PrimaryPackagePurpose: "CONTAINER", PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
		PackageExternalReferences: []*v2_3.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: a.url()}},
	}
	if a.Digest.Algorithm == "sha256" {
		top.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: a.Digest.Hex}}
	}
	doc.Packages = []*v2_3.Package{top}
	doc.Relationships = []*v2_3.Relationship{relation("DOCUMENT", "DESCRIBES", imageID)}
	for _, p := range s.Packages {
		x := &v2_3.Package{
			PackageName: p.full("/"), PackageVersion: p.Version, PackageDownloadLocation: noAssertion,
			PackageSPDXIdentifier:   common.ElementID("Package-" + p.Type + "-" + p.id()),
			PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
			PackageSourceInfo:         "found in /" + p.Path,
			PackageExternalReferences: []*v2_3.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: p.URL()}},
		}
		if p.License != "" { // in no form that SPDX would take for an expression
			x.PackageLicenseComments = "the package says: " + p.License
		}
		doc.Packages = append(doc.Packages, x)
		doc.Relationships = append(doc.Relationships, relation(imageID, "CONTAINS", string(x.PackageSPDXIdentifier)))
	}
	return doc
}

func relation(a, kind, b string) *v2_3.Relationship {
	return &v2_3.Relationship{RefA: common.MakeDocElementID("", a), RefB: common.MakeDocElementID("", b), Relationship: kind}
}

// full is the name as the package's own world writes it.
func (p Package) full(between string) string {
	switch p.Type {
	case "golang", "npm", "maven":
		if p.Namespace != "" {
			return p.Namespace + between + p.Name
		}
	}
	return p.Name
}

func (s *Found) cyclonedx(a About) ([]byte, error) {
	tool, version, _ := strings.Cut(a.Tool, "-")
	bom := cyclonedx.NewBOM()
	bom.SpecVersion = cyclonedx.SpecVersion1_6
	bom.SerialNumber = serial(a.Digest)
	image := cyclonedx.Component{
		BOMRef: imageID, Type: cyclonedx.ComponentTypeContainer, Name: a.name(), Version: cmp.Or(a.Version, a.Digest.String()), PackageURL: a.url(),
	}
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: a.Created.UTC().Format(time.RFC3339), Component: &image,
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{{Type: cyclonedx.ComponentTypeApplication, Name: tool, Version: version}}},
	}
	if u := s.unread(); u != "" {
		bom.Metadata.Properties = &[]cyclonedx.Property{{Name: "strake:notice", Value: u}}
	}
	components := []cyclonedx.Component{}
	contains := []string{}
	if s.System.ID != "" {
		components = append(components, cyclonedx.Component{
			BOMRef: "System", Type: cyclonedx.ComponentTypeOS, Name: s.System.ID, Version: s.System.Version, Description: s.System.Name,
		})
		contains = append(contains, "System")
	}
	for _, p := range s.Packages {
		ref := p.Type + "-" + p.id()
		c := cyclonedx.Component{
			BOMRef: ref, Type: cyclonedx.ComponentTypeLibrary, Name: p.full("/"), Version: p.Version, PackageURL: p.URL(),
			Evidence: &cyclonedx.Evidence{Occurrences: &[]cyclonedx.EvidenceOccurrence{{Location: "/" + p.Path}}},
		}
		if p.Type == "maven" {
			c.Group, c.Name = p.Namespace, p.Name
		}
		if p.License != "" {
			c.Licenses = &cyclonedx.Licenses{{License: &cyclonedx.License{Name: p.License}}}
		}
		components, contains = append(components, c), append(contains, ref)
	}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: imageID, Dependencies: &contains}}
	var b bytes.Buffer
	err := cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
	return bytes.TrimSpace(b.Bytes()), err
}

// serial is a UUID made of a digest (RFC 9562, version 8).
func serial(d v1.Hash) string {
	sum := sha256.Sum256([]byte(d.String()))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	h := hex.EncodeToString(sum[:16])
	return "urn:uuid:" + strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
