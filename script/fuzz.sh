#!/usr/bin/env bash
# Runs every fuzz target for the given time, one after the other.
#   script/fuzz.sh 1m
set -euo pipefail
cd "$(dirname "$0")/.."
each=${1:-1m}
found=0
while IFS=: read -r file target; do
  found=1
  echo "fuzz $(dirname "$file") $target for $each"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$each" "./$(dirname "$file")"
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -oE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
[ "$found" = 1 ] || { echo "no fuzz target found" >&2; exit 1; }
