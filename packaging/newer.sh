#!/usr/bin/env bash
# The tests of container engines with the next Debian's engines: podman 5 with netavark's drivers,
# Docker 26, containerd 1.7. Its files are a tree of their own, made once; this machine's stay.
#
#   packaging/newer.sh [WORD...]     words for pytest
#   NETMGR_NEWER_TREE=DIR            where the tree is (.cache/newer)
set -euo pipefail
cd "$(dirname "$0")/.."

readonly suite=trixie
readonly tree=${NETMGR_NEWER_TREE:-$PWD/.cache/newer}
readonly packages=podman,netavark,aardvark-dns,crun,runc,containerd,containernetworking-plugins
readonly more=docker.io,docker-cli,docker-buildx,busybox-static,ca-certificates,iproute2,procps,curl

[ "$(id -u)" = 0 ] || { echo "make test-newer: needs root" >&2; exit 1; }
command -v mmdebstrap >/dev/null || {
  echo "make test-newer: needs mmdebstrap: sudo apt-get install mmdebstrap" >&2
  exit 1
}
if [ ! -e "$tree/.whole" ]; then
  rm -rf "$tree"
  mkdir -p "$(dirname "$tree")"
  mmdebstrap --quiet --variant=minbase --include="$packages,$more" "$suite" "$tree"
  touch "$tree/.whole"
fi
NETMGR_TEST_ROOT=$tree exec .venv/bin/pytest -q "${@:-tests/runtimes}"
