# driftgate. `make demo` shows the whole loop, `make test` proves it; both need Go and make only.

export CGO_ENABLED ?= 0
GO        ?= go
# Tools are pinned here and built once into .cache/bin, keyed by version.
TOOLS     := $(CURDIR)/.cache/bin
GOLANGCI  := $(TOOLS)/golangci-lint-v2.15.0
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -s -w -X main.version=$(VERSION)

.PHONY: help build test check lint demo e2e bench bench-metrics bench-trainer clean dashboards kernels rules e2e-full e2e-loop

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: bin/driftgate ## the binary, bin/driftgate

.PHONY: bin/driftgate
bin/driftgate:
	@mkdir -p bin
	@$(GO) list -deps ./cmd/driftgate >/dev/null
	@test -n "$(shell ls bin/driftgate 2>/dev/null)" || echo "The first build downloads and compiles all libraries: about 4 minutes on 2 cores. Later ones take seconds."
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/driftgate ./cmd/driftgate

demo: build ## the whole loop on the embedded defaults, in about two minutes
	./bin/driftgate demo $(DEMOFLAGS)

test: ## every test that needs no other server
	$(GO) test ./...

check: ## what CI asks before it tests: format, vet, lint, floors, race detector
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt'ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) test -count=1 ./internal/lint # it asks go list, which the test cache does not see
	$(MAKE) lint
	cd dashboards/gen && $(GO) vet ./... && $(GO) test ./...
	cd deploy/validate && $(GO) vet ./... && $(GO) test -short ./...
	cd internal/kernel/gen && $(GO) vet ./... && $(GO) run . -check
	$(GO) vet -tags bench ./internal/network/bench
	CGO_ENABLED=1 $(GO) test -race -short $(RACEPKGS)
	CGO_ENABLED=1 $(GO) test -race -run 'Resume|Interrupted|HeadLearns' ./trainer # batches are prepared beside the step

RACEPKGS ?= ./internal/serving/... ./internal/labelling/... ./internal/objstore/... ./internal/registry/... ./internal/ledger/... ./internal/trigger/... ./internal/pipeline/... ./internal/engine/... ./evaluator/... ./internal/web/... ./metrics/... ./internal/kernel/... ./internal/network/...

lint: $(GOLANGCI)
	$(GOLANGCI) run ./...

$(GOLANGCI):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS)/tmp $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv $(TOOLS)/tmp/golangci-lint $@

e2e: build ## against a real MinIO, Prometheus, Alertmanager and statsd_exporter
	.ci/e2e

e2e-loop: build ## the alert loop five times, scraped and by StatsD alone: a table of its hops
	DRIFTGATE_LOOPS=5 .ci/e2e -run '^Test(AlertRetrainsPromotesAndResolves|StatsDAloneClosesTheLoop)$$'

bench: ## benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./internal/serving ./internal/network

bench-metrics: build ## figures and reconcile at scale, on SQLite, PostgreSQL and a real MinIO
	.ci/tools
	$(GO) test -tags 'e2e bench' -count=1 -v -timeout 120m -run 'AtScale|WithinTwoSeconds' ./internal/e2e/

PYTHON ?= /usr/bin/python3
bench-trainer: ## training and inference beside PyTorch, in turns; writes docs/benchmarks.md (25 minutes; BENCH=-quick: two)
	@$(PYTHON) -c 'import torch, numpy' 2>/dev/null || .ci/packages torch=python3-torch numpy=python3-numpy
	$(GO) run -tags bench ./internal/network/bench -python $(PYTHON) $(or $(BENCH),-write docs/benchmarks.md)

dashboards: ## dashboards/*.json from their source
	cd dashboards/gen && $(GO) run .

kernels: ## the assembly of internal/kernel from its generator
	cd internal/kernel/gen && $(GO) run .

rules: ## alerts/rules.yml from alerts/slo.yml, and the copies of it in deploy
	$(GO) test ./alerts -count=1 -run UpToDate -update
	cd deploy/validate && $(GO) test -count=1 -run Generated -update .

e2e-full: build ## dashboards drawn with Grafana's own libraries; the image's root without an engine
	.ci/e2e-full
	cd deploy/validate && $(GO) test -count=1 -v .

clean: ## remove what was built
	rm -rf bin .cache
