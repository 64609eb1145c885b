package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

// heldKey is a key that a program holds, and nobody else.
type heldKey struct{ signature.SignerVerifier }

var errNotHere = errors.New("not here")

func (heldKey) CreateKey(context.Context, string) (crypto.PublicKey, error) { return nil, errNotHere }

func (heldKey) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errNotHere
}
func (heldKey) SupportedAlgorithms() []string { return []string{"ecdsa-p256"} }
func (heldKey) DefaultAlgorithm() string      { return "ecdsa-p256" }

// holdKey is a program as sigstore-kms-NAME must be: it signs with the key in the file $HELD_KEY.
func holdKey() {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	key, err := loadHeld(os.Getenv("HELD_KEY"))
	if err == nil {
		_, err = handler.Dispatch(os.Stdout, os.Stdin, args, key)
	} else {
		err = handler.WriteErrorResponse(os.Stdout, err)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func loadHeld(file string) (heldKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return heldKey{}, err
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(b, cryptoutils.SkipPassword)
	if err != nil {
		return heldKey{}, err
	}
	sv, err := signature.LoadSignerVerifier(private, crypto.SHA256)
	return heldKey{sv}, err
}
