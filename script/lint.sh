#!/usr/bin/env bash
# Format, vet and lint. golangci-lint is installed at a pinned version where the machine can fetch it.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v2.15.0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

unformatted=$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
  printf 'not formatted (run gofmt -w):\n%s\n' "$unformatted" >&2
  exit 1
fi
go vet ./...

lint=$(command -v golangci-lint || ls "$(go env GOPATH)/bin/golangci-lint" 2>/dev/null || true)
[ -n "$lint" ] || lint=$PWD/.cache/bin/golangci-lint
if [ ! -x "$lint" ]; then
  echo "golangci-lint: installing $version" >&2
  if ! GOBIN=$PWD/.cache/bin timeout 600 go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version" 2>"$log"; then
    tail -n 1 "$log" >&2
    echo "golangci-lint: cannot be installed here; skipped" >&2
    exit 0
  fi
fi
"$lint" run ./...
