#!/usr/bin/env bash
# Checks the one thing that is assumed to be there: Go.
set -euo pipefail
cd "$(dirname "$0")/.."
want=$(awk '$1 == "go" { split($2, v, "."); print v[1] "." v[2]; exit }' go.mod)
if ! command -v go >/dev/null; then
  echo "Go $want or later is needed and no go was found: install it (the distribution's package is often too old) and put its bin directory on PATH" >&2
  exit 1
fi
have=$(go env GOVERSION 2>/dev/null | sed 's/^go//') || have=unknown
if [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" != "$want" ]; then
  echo "Go $want or later is needed, $(command -v go) is $have: install a newer one" >&2
  exit 1
fi
