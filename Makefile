# Probity: what a person types. Every target works on a fresh Debian or Ubuntu machine with Go.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
BUILD   := CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)"

# Tools are run at fixed versions and never enter go.mod.
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := go run mvdan.cc/gofumpt@v0.12.0

NFPM        := go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0

# Packages: a release has the version of its tag, anything else is older than every release.
export PACKAGE_VERSION ?= $(if $(filter v%,$(VERSION)),$(subst v,,$(VERSION)),0.0.0~git.$(subst -,.,$(VERSION)))
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1767225600)
PACKAGE_ARCHS ?= amd64 arm64 arm7
PACKAGE_KINDS ?= deb rpm apk ipk
PACKAGE_DIR ?= bin/packages
SHOTS ?= bin/screenshots

# Programs that the demo and the tests need, and the Debian packages that bring them.
DEMO_PROGRAMS := swtpm swtpm_setup
DEMO_PACKAGES := swtpm swtpm-tools
# The dashboard is tested, and shown in pictures, in a real browser. Pictures need letters.
WEB_PROGRAMS := chromium
WEB_PACKAGES := chromium fonts-dejavu-core
PROGRAMS := $(DEMO_PROGRAMS) $(WEB_PROGRAMS) mosquitto gcc rpm
PACKAGES := $(DEMO_PACKAGES) $(WEB_PACKAGES) mosquitto gcc libc6-dev rpm
# Machines that boot for real. What they boot is unpacked into a cache, never installed (verifier/e2e/boot/debian).
BOOT_PROGRAMS := qemu-system-x86_64 qemu-system-aarch64 qemu-system-arm
BOOT_PACKAGES := qemu-system-x86 qemu-system-arm

# install PROGRAMS,PACKAGES: install the packages if one of the programs is missing.
define install
missing=; for p in $(1); do PATH="$$PATH:/usr/sbin:/sbin" command -v $$p >/dev/null || missing="$$missing $$p"; done; \
if [ -z "$$missing" ]; then exit 0; fi; \
echo "installing for:$$missing"; \
if ! command -v apt-get >/dev/null; then echo "no apt-get here: install$$missing by hand" >&2; exit 1; fi; \
as=; if [ "$$(id -u)" != 0 ]; then \
	command -v sudo >/dev/null || { echo "not root and no sudo: run as root: apt-get install $(2)" >&2; exit 1; }; as=sudo; fi; \
$$as apt-get update -qq; \
$$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2) >/dev/null
endef

# SQLite is C that was translated to Go. Like C it is left out of the race detector, which would make it ten times slower.
UNRACED := -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false

FUZZTIME ?= 1m
BENCHTIME ?= 1s

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

.PHONY: deps
deps: ## Install what is missing (apt-get, as root or through sudo)
	@$(call install,$(PROGRAMS),$(PACKAGES))
	@( $(call install,$(BOOT_PROGRAMS),$(BOOT_PACKAGES)) ) || echo "QEMU could not be installed: tests of real boots will be skipped"

.PHONY: deps-demo
deps-demo:
	@$(call install,$(DEMO_PROGRAMS),$(DEMO_PACKAGES))

.PHONY: build
build: ## Build the programs into bin/
	@mkdir -p bin
	@$(BUILD) -o bin/ ./agent/cmd/... ./verifier/cmd/...

.PHONY: packages
packages: ## Build deb, rpm, apk and ipk packages into bin/packages (PACKAGE_VERSION=, PACKAGE_ARCHS=amd64)
	@mkdir -p $(PACKAGE_DIR); for arch in $(PACKAGE_ARCHS); do \
		export PACKAGE_ARCH=$$arch PACKAGE_BIN=.cache/package/$$arch; mkdir -p $$PACKAGE_BIN; \
		GOOS=linux GOARCH=$${arch%7} GOARM=7 CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(PACKAGE_VERSION)" \
			-o $$PACKAGE_BIN/ ./agent/cmd/probity-agent ./verifier/cmd/probity-verifier ./verifier/cmd/probity; \
		go run ./verifier/cmd/probity man $$PACKAGE_BIN/man; \
		for shell in bash zsh fish; do go run ./verifier/cmd/probity completion $$shell >$$PACKAGE_BIN/probity.$$shell; done; \
		for side in agent verifier; do for kind in $(PACKAGE_KINDS); do \
			$(NFPM) package --config $$side/package/nfpm.yaml --packager $$kind --target $(PACKAGE_DIR)/ >/dev/null; done; done; done
	@ls $(PACKAGE_DIR)

.PHONY: demo
demo: deps-demo build ## Show the main job: devices enrol, attest, and the bad ones are found (ONCE=1: exit by itself)
	@mkdir -p bin && $(BUILD) -o bin/probity-demo ./verifier/e2e/cmd/probity-demo
	@bin/probity-demo $(if $(ONCE),--once)

.PHONY: test
test: deps ## Run every test, with the race detector
	@go test -race $(UNRACED) -timeout 15m ./...

.PHONY: e2e-boot
e2e-boot: deps ## Boot every machine for real under QEMU, attack it, and print the agent's footprint (CAPTURE=DIR: keep the logs)
	@go test -v -count=1 -timeout 60m ./verifier/e2e/boot -args -all $(if $(CAPTURE),-capture $(abspath $(CAPTURE)))
	@go test -v -count=1 -timeout 20m ./verifier/e2e/boot/machine -args -all

.PHONY: check
check: ## Formatting, vet, staticcheck, tidy modules, size of the agent
	@out=$$($(GOFUMPT) -l agent verifier firmware proto); if [ -n "$$out" ]; then echo "not formatted (make fmt):"; echo "$$out"; exit 1; fi
	@go vet ./...
	@$(STATICCHECK) ./...
	@go mod tidy -diff
	@go mod verify >/dev/null
	@$(MAKE) --no-print-directory size
	@echo "check: ok (known vulnerabilities: skipped, their database is looked up by make vuln)"

.PHONY: vuln
vuln: ## Look known vulnerabilities up; needs the Go vulnerability database
	@go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...

.PHONY: size
size: ## Check that the agent stays under 8 MB on small machines
	@for arch in arm arm64; do \
		GOOS=linux GOARCH=$$arch GOARM=7 $(BUILD) -o .cache/probity-agent-$$arch ./agent/cmd/probity-agent; \
		n=$$(stat -c %s .cache/probity-agent-$$arch); echo "probity-agent for $$arch: $$n bytes"; \
		if [ $$n -ge 8000000 ]; then echo "over 8,000,000 bytes" >&2; exit 1; fi; done

.PHONY: fmt
fmt: ## Format the code
	@$(GOFUMPT) -w agent verifier firmware proto

.PHONY: bench
bench: deps-demo ## Measure speed beside peers and limits (BENCH_JSON=FILE: for machines)
	@go run ./verifier/e2e/cmd/probity-bench $(if $(BENCH_JSON),--json $(abspath $(BENCH_JSON)))

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (default 1m)
	@go list -f '{{.Dir}}' ./... | while read -r dir; do \
		{ grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$dir/*_test.go 2>/dev/null || true; } | sed 's/^func //' | while read -r target; do \
			echo "== $$dir $$target"; (cd $$dir && go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .) || exit 1; done || exit 1; done

.PHONY: screenshots
screenshots: deps ## Take pictures of every page of a running verifier into bin/screenshots (ONLY=REGEXP: of some; SHOTS=DIR: elsewhere)
	@go run ./verifier/e2e/cmd/probity-screenshots -out $(abspath $(SHOTS)) $(if $(ONLY),-only '$(ONLY)')
	@for f in verifier/web/screenshots/*.png; do new=$(SHOTS)/$${f##*/}; if [ -f $$new ]; then cp $$new $$f; fi; done # README's

.PHONY: clean
clean: ## Remove what was built
	@rm -rf bin .cache
