package sigstoretest

import (
	"bytes"
	"context"
	"crypto"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/digitorus/timestamp"
	"github.com/go-openapi/runtime"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/rfc6962"

	// The kinds of entries that are taken.
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1"
)

// log answers as Rekor does: with the entry, the promise to keep it, and the proof that it is in the tree.
func (s *Sigstore) log(w http.ResponseWriter, req *http.Request) {
	proposed, err := models.UnmarshalProposedEntry(req.Body, runtime.JSONConsumer())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := types.CanonicalizeEntry(req.Context(), entry)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, made := s.Entry(body)
	w.Header().Set("ETag", id)
	w.Header().Set("Location", RekorPath+"/"+id)
	s.answer(w, http.StatusCreated, map[string]any{id: made})
}

// Entry puts a body into the log.
func (s *Sigstore) Entry(body []byte) (id string, entry map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	index, now := len(s.leaves), time.Now().Unix()
	s.leaves = append(s.leaves, body)
	signer, err := signature.LoadECDSASignerVerifier(s.rekor, crypto.SHA256)
	s.must(err)
	top := subtree(s.leaves)
	checkpoint, err := util.CreateAndSignCheckpoint(context.Background(), "rekor.example", 1, uint64(len(s.leaves)), top, signer)
	s.must(err)
	hashes := []string{}
	for _, h := range path(s.leaves, index) {
		hashes = append(hashes, hex.EncodeToString(h))
	}
	entry = map[string]any{
		"body": base64.StdEncoding.EncodeToString(body), "integratedTime": now, "logIndex": index, "logID": hex.EncodeToString(s.logID(s.rekor)),
	}
	promised, err := json.Marshal(entry)
	s.must(err)
	promised, err = jsoncanonicalizer.Transform(promised)
	s.must(err)
	set, err := signer.SignMessage(bytes.NewReader(promised))
	s.must(err)
	entry["verification"] = map[string]any{"signedEntryTimestamp": set, "inclusionProof": map[string]any{
		"checkpoint": string(checkpoint), "hashes": hashes, "logIndex": index, "rootHash": hex.EncodeToString(top), "treeSize": len(s.leaves),
	}}
	return hex.EncodeToString(rfc6962.DefaultHasher.HashLeaf(body)), entry
}

// split is the largest power of two below n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

// subtree is the hash of a tree of leaves (RFC 6962, 2.1).
func subtree(leaves [][]byte) []byte {
	h := rfc6962.DefaultHasher
	if len(leaves) == 1 {
		return h.HashLeaf(leaves[0])
	}
	k := split(len(leaves))
	return h.HashChildren(subtree(leaves[:k]), subtree(leaves[k:]))
}

// path proves that a leaf is in the tree (RFC 6962, 2.1.1).
func path(leaves [][]byte, index int) [][]byte {
	if len(leaves) == 1 {
		return nil
	}
	k := split(len(leaves))
	if index < k {
		return append(path(leaves[:k], index), subtree(leaves[k:]))
	}
	return append(path(leaves[k:], index-k), subtree(leaves[:k]))
}

// timestamp answers as an RFC 3161 service does.
func (s *Sigstore) timestamp(w http.ResponseWriter, req *http.Request) {
	b, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	q, err := timestamp.ParseRequest(b)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t := timestamp.Timestamp{
		HashAlgorithm: q.HashAlgorithm, HashedMessage: q.HashedMessage, Nonce: q.Nonce, Time: time.Now(),
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2},
	}
	answer, err := t.CreateResponseWithOpts(s.tsa.Leaf, s.stamps, crypto.SHA256)
	s.must(err)
	w.Header().Set("Content-Type", "application/timestamp-reply")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(answer)
}
