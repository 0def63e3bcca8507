#!/usr/bin/env bash
# Installs what the demo and the tests use and this machine does not have: PostgreSQL 15, which is required,
# and 18, without which its tests are skipped by name and the demo runs between two servers of one version.
set -euo pipefail
cd "$(dirname "$0")/.."
script/go.sh
script/postgres.sh 15
script/postgres.sh 18 || echo "postgres 18: not available here; what needs it is skipped" >&2
