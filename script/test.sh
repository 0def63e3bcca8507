#!/usr/bin/env bash
# All checks and all tests. Packages that start servers run after one another, so that a small machine is not
# overrun; the race detector is on where there is a C compiler.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0

script/lint.sh || failed=1
CGO_ENABLED=0 go build ./... || failed=1

race=-race
if ! command -v "${CC:-cc}" >/dev/null && ! command -v gcc >/dev/null; then
  race=
  echo "no C compiler: the race detector is off" >&2
fi
for major in 15 18; do
  if [ -x "/usr/lib/postgresql/$major/bin/postgres" ] || [ -x "${WAYBILL_SERVERS:-/var/tmp/waybill-servers}/postgres-$major/bin/postgres" ]; then
    required="${required:-} postgres$major"
  else
    echo "skipped: everything on PostgreSQL $major, which is not installed" >&2
  fi
done
# A server that is installed but does not start must fail, not skip.
WAYBILL_REQUIRE=${required:-} go test $race -timeout 25m -p 2 ./... || failed=1
[ "$failed" = 0 ] && echo "all green" || echo "failed"
exit "$failed"
