package source

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strings"
	"unicode"
)

// sum is a checksum on its way to what it should become.
type sum struct {
	name string
	hash hash.Hash
	want []byte
}

// promises are the checksums that object stores send along with a whole object:
// Google's x-goog-hash, Amazon's x-amz-checksum-*, Azure's MD5.
func promises(h http.Header) []*sum {
	found := make(map[string]string)
	for _, line := range h.Values("X-Goog-Hash") {
		for one := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
			found[strings.ToLower(name)] = value
		}
	}
	if t := h.Get("X-Amz-Checksum-Type"); t == "" || t == "FULL_OBJECT" {
		for _, name := range []string{"sha256", "crc64nvme", "crc32c", "crc32", "sha1"} {
			found[name] = h.Get("X-Amz-Checksum-" + name)
		}
	}
	if h.Get("X-Ms-Version") != "" {
		found["md5"] = h.Get("Content-Md5")
	}
	// One is enough, the strongest.
	for _, name := range []string{"sha256", "crc64nvme", "crc32c", "crc32", "sha1", "md5"} {
		want, err := base64.StdEncoding.DecodeString(found[name])
		if s := newSum(name); err == nil && len(want) == s.Size() {
			return []*sum{{name: name, hash: s, want: want}}
		}
	}
	return nil
}

// crc64NVMe is the polynomial of the NVM Express specification, bits reversed.
const crc64NVMe = 0x9a6c9329ac4bc9b5

func newSum(name string) hash.Hash {
	switch name {
	case "sha256":
		return sha256.New()
	case "sha1":
		return sha1.New()
	case "md5":
		return md5.New()
	case "crc64nvme":
		return crc64.New(crc64.MakeTable(crc64NVMe))
	case "crc32":
		return crc32.NewIEEE()
	}
	return crc32.New(crc32.MakeTable(crc32.Castagnoli))
}

// maxDetail is how much of an error page is looked at, maxWords how much told.
const (
	maxDetail = 16 << 10
	maxWords  = 300
)

// detail is what the page of an error says, where it is one of an object store:
// XML with Code and Message, or JSON with error.message.
func detail(resp *http.Response) string {
	page, err := io.ReadAll(io.LimitReader(resp.Body, maxDetail))
	if err != nil {
		return ""
	}
	var x struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	var j struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	words := ""
	switch {
	case xml.Unmarshal(bytes.TrimPrefix(page, []byte("\xef\xbb\xbf")), &x) == nil:
		words = strings.TrimSpace(x.Code + ": " + x.Message)
	case json.Unmarshal(page, &j) == nil:
		words = j.Error.Message
	}
	words = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, words)
	if len(words) > maxWords {
		words = strings.ToValidUTF8(words[:maxWords], "") + "…"
	}
	return words
}
