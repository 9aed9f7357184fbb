#!/usr/bin/env bash
# The tests of container engines with the next Debian's engines: podman 5 with netavark's drivers,
# Docker 26, containerd 1.7. Its files are a tree of their own, made once; this machine's stay.
#
#   packaging/newer.sh [WORD...]     words for pytest; files instead of all of them
#   NETMGR_NEWER_TREE=DIR            where the tree is (.cache/newer)
set -euo pipefail
cd "$(dirname "$0")/.."

readonly suite=trixie
readonly tree=${NETMGR_NEWER_TREE:-$PWD/.cache/newer}
readonly packages=podman,netavark,aardvark-dns,crun,runc,containerd,containernetworking-plugins
readonly engines=docker.io,docker-cli,docker-buildx,bubblewrap,systemd
readonly more=busybox-static,ca-certificates,curl,iproute2,libnss3-tools,nftables,procps,python3,slirp4netns,uidmap
stamp=$tree/.whole-$(echo "$suite $packages $engines $more" | sha256sum | cut -c1-16)

[ "$(id -u)" = 0 ] || { echo "make test-newer: needs root" >&2; exit 1; }
command -v mmdebstrap >/dev/null || {
  echo "make test-newer: needs mmdebstrap: sudo apt-get install mmdebstrap" >&2
  exit 1
}
if [ ! -e "$stamp" ]; then
  rm -rf "$tree"
  mkdir -p "$(dirname "$tree")"
  mmdebstrap --quiet --variant=minbase --include="$packages,$engines,$more" "$suite" "$tree"
  touch "$stamp"
fi
case ${1:--} in -*) set -- tests/runtimes "$@" ;; esac
NETMGR_TEST_ROOT=$tree exec .venv/bin/pytest -q "$@"
