# Everything a person does with this repository. `make` alone lists it.
SHELL := /bin/bash
GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
KILLS ?= 200
FUZZTIME ?= 1m

.DEFAULT_GOAL := help
.PHONY: help build demo test crash compare-truth bench-link bench-copy bench-compare lint fuzz deps clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/waybill, one static binary
	@script/go.sh
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/waybill ./cmd/waybill

deps: ## install the servers that the demo and the tests use
	@script/deps.sh

demo: deps build ## the main job on throw-away servers, with a report (ARGS="--keep")
	bin/waybill demo $(ARGS)

test: deps ## format, vet, lint, all tests with the race detector
	@script/test.sh

crash: deps build ## kill the link KILLS times (200) and prove that nothing was lost
	WAYBILL_CRASH_KILLS=$(KILLS) $(GO) test -count=1 -timeout 3h -v ./test/crash

compare-truth: deps ## pairs of tables that are equal or different by construction: no wrong verdict
	$(GO) test -count=1 -v -run 'Hard|Bags|EqualInOrder|Random|Rules|Parts' ./compare

bench-link: deps build ## catch up against PostgreSQL's own logical replication
	$(GO) run ./bench/link

bench-compare: deps build ## a comparison against COPY to nowhere, md5 by buckets and pg_comparator
	$(GO) run ./bench/compare

bench-copy: deps build ## first copy against psql COPY and pgcopydb
	$(GO) run ./bench/copy

lint: ## gofmt, go vet, golangci-lint where it can be installed
	@script/lint.sh

fuzz: ## every fuzz target for FUZZTIME (1m)
	@script/fuzz.sh $(FUZZTIME)

clean: ## remove what was built
	rm -rf bin .cache bench/out test/out
