package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

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
		if variable == "GOOGLE_APPLICATION_CREDENTIALS" {
			var source []string
			if name, source, err = federated(name); err != nil {
				return nil, fmt.Errorf("%s: %w", variable, err)
			}
			keep = append(keep, source...)
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

// federated gives another file in place of one that says where the token lies that
// Google is to give credentials for, if that is a name that does not last. It says
// the same otherwise, is in memory, and holds no secret.
func federated(file string) (name string, keep []string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return file, nil, nil //nolint:nilerr // whoever needs it says so
	}
	var doc map[string]any
	if json.Unmarshal(text, &doc) != nil || doc["type"] != "external_account" {
		return file, nil, nil
	}
	source, _ := doc["credential_source"].(map[string]any)
	token, _ := source["file"].(string)
	if token == "" {
		return file, nil, nil
	}
	lasts, mounted, err := disposable.Lasting(token)
	if err != nil {
		return file, nil, err
	}
	if !mounted {
		keep = []string{lasts}
	}
	if lasts == token {
		return file, keep, nil
	}
	source["file"] = lasts
	if text, err = json.Marshal(doc); err != nil {
		return file, nil, err
	}
	fd, err := unix.MemfdCreate("credentials", unix.MFD_CLOEXEC)
	if err == nil {
		_, err = unix.Write(fd, text) // all of it, as it is memory
	}
	// It stays open: it is read for as long as the program runs.
	return fmt.Sprintf("/proc/self/fd/%d", fd), keep, err
}
