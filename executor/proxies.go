package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	shared "github.com/strake-build/strake/shared/cli"
)

// proxies are the proxies of docker's config.json as build arguments, as docker
// build gives them: those for every daemon, as here is none with an address. Nobody
// has to declare them, and they are neither in the image nor in keys.
func proxies(environ []string) map[string]string {
	for _, file := range shared.CredentialFiles(environ) {
		if filepath.Base(file) != "config.json" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue // who looks for credentials says so
		}
		var config struct {
			Proxies map[string]struct {
				HTTPProxy, HTTPSProxy, NoProxy, FTPProxy, AllProxy string
			} `json:"proxies"`
		}
		if json.Unmarshal(text, &config) != nil {
			continue // as above
		}
		d, ok := config.Proxies["default"]
		if !ok {
			continue
		}
		out := make(map[string]string)
		for name, v := range map[string]string{
			"HTTP_PROXY": d.HTTPProxy, "HTTPS_PROXY": d.HTTPSProxy, "NO_PROXY": d.NoProxy, "FTP_PROXY": d.FTPProxy, "ALL_PROXY": d.AllProxy,
		} {
			if v != "" {
				out[name], out[strings.ToLower(name)] = v, v
			}
		}
		return out
	}
	return nil
}
