package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/manifest/internal/cosign"
	"github.com/strake-build/strake/shared/version"
)

// printVersion says which build this is, and whose keys it can use.
func (c *command) printVersion(x *cli.Context) error {
	schemes := append([]string{"env://", "gitlab://", "k8s://"}, cosign.KeyServices()...)
	if x.Bool("json") {
		return json.NewEncoder(c.stdout).Encode(struct {
			version.Info
			Keys []string `json:"keys"`
		}{version.Get(), schemes})
	}
	if err := version.Print(c.stdout, false); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "keys: files, %s, programs sigstore-kms-NAME\n", strings.Join(schemes, ", "))
	return err
}
