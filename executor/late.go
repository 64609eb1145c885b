package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/strake-build/strake/shared/disposable"
)

// lateFiles are the variables that name files which the clouds' libraries and
// credential programs read when a credential is asked for, again and again where
// it runs out, with the places below HOME that are looked at without them.
func lateFiles() map[string]string {
	return map[string]string{
		"AWS_WEB_IDENTITY_TOKEN_FILE":            "",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "",
		"AWS_SHARED_CREDENTIALS_FILE":            ".aws/credentials",
		"AWS_CONFIG_FILE":                        ".aws/config",
		"AWS_CA_BUNDLE":                          "",
		"AZURE_FEDERATED_TOKEN_FILE":             "",
		"AZURE_CLIENT_CERTIFICATE_PATH":          "",
		"GOOGLE_APPLICATION_CREDENTIALS":         ".config/gcloud/application_default_credentials.json",
		"SSL_CERT_FILE":                          "",
	}
}

// lasting has these variables name their files by names that are right during a
// build in place, too, and returns those of the files that would not stay there
// by themselves. Where the root is nobody's to replace nothing is done.
func lasting(home string) (keep []string, err error) {
	if _, err := os.Stat(filepath.Join(home, disposable.Marker)); err != nil {
		return nil, nil //nolint:nilerr // it is not the official image
	}
	for variable, usual := range lateFiles() {
		file := os.Getenv(variable)
		if file == "" && usual != "" && os.Getenv("HOME") != "" {
			file = filepath.Join(os.Getenv("HOME"), usual)
			if !lstatOK(file) {
				continue
			}
		}
		if file == "" {
			continue
		}
		name, mounted, err := disposable.Lasting(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		if !mounted {
			keep = append(keep, name)
		}
		if name == file {
			continue
		}
		if err := os.Setenv(variable, name); err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
	}
	return keep, nil
}
