# strake's tasks. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash
export CGO_ENABLED ?= 0

BINARIES := executor warmer manifest
PLATFORMS := linux/amd64 linux/arm64 linux/arm/v7 linux/s390x linux/ppc64le linux/riscv64
GO_BUILD := go build -trimpath -ldflags '-s -w'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## compile executor, warmer and manifest into bin/
	@mkdir -p bin
	$(foreach b,$(BINARIES),$(GO_BUILD) -o bin/$(b) ./$(b) &&) true

.PHONY: share
share: build ## write the manual pages and shell completions into bin/share/
	@mkdir -p bin/share/man/man1 bin/share/bash-completion/completions bin/share/zsh/site-functions bin/share/fish/vendor_completions.d
	$(foreach b,$(BINARIES),bin/$(b) man >bin/share/man/man1/$(b).1 &&) true
	$(foreach b,$(BINARIES),bin/$(b) completion bash >bin/share/bash-completion/completions/$(b) &&) true
	$(foreach b,$(BINARIES),bin/$(b) completion zsh >bin/share/zsh/site-functions/_$(b) &&) true
	$(foreach b,$(BINARIES),bin/$(b) completion fish >bin/share/fish/vendor_completions.d/$(b).fish &&) true

.PHONY: cross
cross: ## compile every binary for every platform into bin/OS-ARCH/
	@set -e; for p in $(PLATFORMS); do \
		IFS=/ read -r os arch variant <<<"$$p"; dir=bin/$$os-$$arch$$variant; mkdir -p $$dir; \
		for b in $(BINARIES); do echo "$$dir/$$b"; \
			GOOS=$$os GOARCH=$$arch GOARM=$${variant#v} $(GO_BUILD) -o $$dir/$$b ./$$b; done; done

.PHONY: demo
demo: ## build an image from a real Dockerfile, pull it back; then two platforms into one signed index
	@scripts/demo

.PHONY: test
test: ## run every test, integration included; installs what they need
	@scripts/test

.PHONY: test-unit
test-unit: ## run the tests that need neither root nor network
	go test ./executor/... ./manifest/... ./shared/... ./warmer/...

.PHONY: race
race: ## run the unit tests under the race detector
	CGO_ENABLED=1 go test -race ./executor/... ./manifest/... ./shared/... ./warmer/...

.PHONY: vet
vet: ## run go vet on every module
	go vet work

.PHONY: lint
lint: ## run go vet, staticcheck and gofumpt
	@scripts/lint

.PHONY: fmt
fmt: ## format the source with gofumpt
	@scripts/lint --fix

.PHONY: conformance
conformance: ## build our Dockerfile cases with BuildKit and strake and compare the images
	@scripts/conformance

.PHONY: conformance-golden
conformance-golden: ## write BuildKit's answers to our Dockerfile cases down
	@scripts/conformance golden

.PHONY: bench
bench: ## measure strake, BuildKit and buildah side by side; ARGS="-runs 3 -only apt"
	@scripts/bench $(ARGS)

.PHONY: environments
environments: ## build in every kind of container that there is and write the table of docs/environments.md
	@scripts/environments $(ARGS)

.PHONY: images
images: ## build the official images of linux/amd64 and linux/arm64 with the executor itself, as OCI layouts in bin/images/
	@scripts/images bin/images

.PHONY: bases
bases: ## make the base images of tests and benchmarks from packages
	@scripts/bases

.PHONY: clean
clean: ## remove bin/
	rm -rf bin
