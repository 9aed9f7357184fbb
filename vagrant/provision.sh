#!/usr/bin/env bash
# Makes a fresh Debian or Ubuntu machine ready for tests/vm: run in it, as root, with the path of the
# project. Knows nothing of what made the machine. May be run again.
set -euo pipefail

readonly project=$1
readonly modules='ip_tables iptable_raw iptable_mangle iptable_filter ip6table_raw ip6table_filter
  ip_set ip_set_hash_net ip_set_hash_netiface ip_set_hash_ipportnet ip_set_hash_ip
  ip_set_hash_ipportip xt_set xt_TPROXY xt_NFLOG xt_limit nfnetlink_log inet_diag tcp_diag veth'
readonly tests_venv=/opt/venv

say() { printf 'provision: %s\n' "$*"; }
fail() { printf 'provision: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "needs root"
[ -e "$project/packaging/install.sh" ] || fail "$project is no checkout of netmgr"

# Each by name: a kernel that lacks one must say which. They are unloaded again where that goes, so
# that the tests see the daemon's unit load them itself.
for module in $modules; do
  modprobe -q "$module" || fail "this kernel ($(uname -r)) has no module $module"
done
for module in $modules; do
  modprobe -qr "$module" 2>/dev/null || true
done

if [ ! -x "$tests_venv/bin/pytest" ]; then # a public box: everything from the network
  say "installing pytest"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q -y update
  apt-get -q -y install --no-install-recommends make gcc libc6-dev python3-dev python3-venv \
    iptables ipset curl ca-certificates nftables conntrack ufw tcpdump podman crun \
    busybox-static docker.io apparmor firewalld
  systemctl disable --now docker.service docker.socket containerd firewalld
  python3 -m venv "$tests_venv"
  "$tests_venv/bin/pip" -q install pytest pytest-timeout dnslib
fi

# For what must be refused: an ordinary user, and one of the group (which the installation makes).
id stranger >/dev/null 2>&1 || useradd --create-home --shell /bin/bash stranger

say "kernel $(uname -r), $(python3 -V), $(iptables-legacy --version), systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')"
