#!/usr/bin/env bash
# Runs a command beside a libvirtd of its own, for hosts on which none runs (containers, CI machines
# without systemd), and leaves nothing behind.
#
#   vagrant/session.sh STATE_DIR COMMAND...      root, Linux
#
# The command finds libvirt at its usual socket. It and everything that libvirt starts live in mount,
# network and process namespaces that end with this script, SIGKILL included: no bridge, no dnsmasq,
# no packet filter rule and no machine survives, and nothing that a machine sends can leave the host.
set -euo pipefail

say() { printf 'session: %s\n' "$*" >&2; }

if [ "${NETMGR_VM_SESSION:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || { say "needs root, for namespaces"; exit 2; }
  mkdir -p "$1"
  state=$(cd "$1" && pwd)
  shift
  export NETMGR_VM_SESSION=inside
  exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
    "$0" "$state" "$@"
fi

readonly state=$1
shift
readonly wait_s=30 # libvirtd probes QEMU once, which takes seconds under load

prepare_files() {
  local kept
  ip link set lo up
  mount -t tmpfs tmpfs /run
  mkdir /run/lock
  for kept in etc/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt; do
    rm -rf "${state:?}/$kept"
    mkdir -p "$state/$kept" "/$kept"
    mount --bind "$state/$kept" "/$kept"
  done
  mkdir -p /var/lib/libvirt/{dnsmasq,images,qemu,boot,network}
  : >/etc/libvirt/libvirtd.conf
  : >/etc/libvirt/libvirt.conf
  : >/etc/libvirt/network.conf
  # Root, as /dev/kvm may be root's alone: with another user libvirt finds KVM when it probes QEMU,
  # misses it when it looks again, and throws its cache away at every call (a minute each).
  cat >/etc/libvirt/qemu.conf <<TEXT
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
TEXT
}

start_libvirtd() {
  local end=$((SECONDS + wait_s))
  libvirtd >"$state/libvirtd.log" 2>&1 &
  until virsh -q -c qemu:///system uri >/dev/null 2>&1; do
    if ! kill -0 $! 2>/dev/null || [ $SECONDS -ge $end ]; then
      say "libvirtd does not come up; $state/libvirtd.log:"
      tail -n 20 "$state/libvirtd.log" >&2
      exit 2
    fi
    sleep 0.2
  done
}

prepare_files
start_libvirtd
status=0
"$@" || status=$?
exit "$status"
