#!/usr/bin/env bash
# Brings machines up, installs netmgr in them, runs tests/vm, fetches the results, destroys all.
#
#   vagrant/run-tests.sh [--require] [--quick] [--suite SUITE] [PART...]
#
#   --require   a machine that cannot be had is a failure (2) and not "not run" (77)
#   --quick     without what is marked long
#   --suite     bookworm (default), trixie, or bookworm-backports
#   PART        folders of tests/vm (default: all, in their order); a reboot is between those
#               whose names say so
#
# Exit status: 0 passed; 1 tests failed; 2 the machine or its set-up broke; 77 not run, with one line
# that says why. Results lie in vagrant/.cache/results; without a run there are none.
set -euo pipefail
cd "$(dirname "$0")"

require=
quick=
suite=bookworm
parts=()
readonly all_parts=(service reboot network upgrade)
readonly cache=${NETMGR_VM_CACHE:-$PWD/.cache}
readonly needed_mib=3584 # memory: machines of 1.5 and 0.5 GiB and what emulates them
readonly needed_disk_mib=8192 # a box is built in 6 GiB
readonly reboot_s=300

say() { printf 'vm: %s\n' "$*" >&2; }

not_run() {
  printf 'VM TESTS NOT RUN: %s\n' "$*"
  [ -z "$require" ] || exit 2
  exit 77
}

broken() { say "$*"; exit 2; }

while [ $# -gt 0 ]; do
  case $1 in
    --require) require=yes ;;
    --quick) quick=quick ;;
    --suite) suite=${2:?--suite needs a name}; shift ;;
    -*) say "unknown option $1; see the head of $0"; exit 2 ;;
    *) parts+=("$1") ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=("${all_parts[@]}")
export NETMGR_VM_SUITE=$suite NETMGR_VM_CACHE=$cache

# -- may it run here ------------------------------------------------------------------------

probe() {
  local free
  command -v vagrant >/dev/null || not_run "no vagrant here; Debian: make setup-vm"
  vagrant plugin list 2>/dev/null | grep -q libvirt || dpkg -s vagrant-libvirt >/dev/null 2>&1 ||
    not_run "Vagrant's libvirt plugin is missing; Debian: make setup-vm"
  [ "$(id -u)" = 0 ] || [ -S /run/libvirt/libvirt-sock ] ||
    not_run "neither root nor a running libvirt"
  free=$(awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
  [ "$free" -ge $needed_mib ] || not_run "$free MiB of memory free, $needed_mib are needed"
  free=$(df -Pm "$cache" | awk 'NR == 2 {print $4}')
  [ "$free" -ge $needed_disk_mib ] || not_run "$free MiB free in $cache, $needed_disk_mib are needed"
}

have_box() {
  [ -z "${NETMGR_VM_BOX:-}" ] || return 0
  if [ "$(id -u)" = 0 ] && command -v mmdebstrap >/dev/null; then
    local had
    had=$(cat "$cache/box/netmgr-$suite.json" 2>/dev/null || true)
    ./build-box.sh "$cache/box" "$suite" >/dev/null || broken "the box could not be built"
    # Vagrant keeps a copy of every version that it ever saw.
    [ "$(cat "$cache/box/netmgr-$suite.json")" = "$had" ] || rm -rf "$cache/home/boxes/netmgr-$suite"
  elif [ ! -e "$cache/box/netmgr-$suite.json" ]; then
    not_run "no box netmgr-$suite, and no way to build one (root and mmdebstrap)"
  fi
}

# -- the run, beside a libvirt --------------------------------------------------------------

readonly ssh_config=$cache/ssh-config
in_guest() { ssh -q -F "$ssh_config" "$@"; }

destroy() {
  vagrant destroy -f >/dev/null 2>&1 || true
}

up() {
  vagrant up --no-tty "$@" || broken "vagrant up failed"
  vagrant ssh-config "$@" >>"$ssh_config" || broken "no way into the machine"
}

reboot_guest() {
  local before end=$((SECONDS + reboot_s))
  before=$(in_guest default cat /proc/sys/kernel/random/boot_id)
  in_guest default sudo systemctl reboot || true
  until [ "$(in_guest -o ConnectTimeout=5 default cat /proc/sys/kernel/random/boot_id || echo "$before")" != "$before" ]; do
    [ $SECONDS -lt $end ] || broken "the machine does not come back from its reboot"
    sleep 1
  done
}

bring_previous() {
  local tree
  tree=$(./previous.sh) ||
    broken "this clone has no history to take the previous version from: git fetch --unshallow"
  say "the previous version is $tree ($(git rev-parse --short "$tree"))"
  git -C .. archive "$tree" | # -C: an archive holds the folder that git is in
    in_guest default 'sudo sh -c "mkdir -p /srv/netmgr-previous && tar -xC /srv/netmgr-previous"' ||
    broken "the previous version does not reach the machine"
}

run_part() {
  local status=0
  case $1 in
    reboot) reboot_guest ;;
    upgrade) bring_previous ;;
    network)
      up outside
      in_guest outside sudo systemd-run --quiet --unit outside /opt/venv/bin/python \
        /srv/netmgr/tests/vm/network/outside.py || broken "the machine outside does not start"
      ;;
  esac
  in_guest default sudo /srv/netmgr/vagrant/guest-tests.sh /srv/netmgr "$1" /var/tmp/results \
    $quick || status=$?
  scp -q -F "$ssh_config" "default:/var/tmp/results/$1.*" "$cache/results/" ||
    broken "part $1 left no results"
  printf 'driver=%s\nbox=%s\n' "${NETMGR_VM_DRIVER:-as the Vagrantfile chose}" \
    "${NETMGR_VM_BOX:-netmgr-$suite}" >>"$cache/results/$1.facts"
  [ "$status" -le 1 ] || [ "$status" = 5 ] || broken "part $1 ended with status $status"
  return "$status"
}

run_all() {
  local part failed=()
  trap destroy EXIT
  destroy # what a killed run left defined would boot its old disk
  rm -rf "$cache/results"
  mkdir -p "$cache/results"
  : >"$ssh_config"
  up default
  say "the machine is up after $SECONDS s"
  for part in "${parts[@]}"; do
    say "part $part"
    run_part "$part" || failed+=("$part")
    say "part $part ended after $SECONDS s"
  done
  cat "$cache"/results/*.facts
  if [ ${#failed[@]} -gt 0 ]; then
    say "FAILED: ${failed[*]}"
    return 1
  fi
  say "passed: ${parts[*]}"
}

# What a run could leave on this host: links, chains and processes of its machines.
remains() {
  ls /sys/class/net | grep -E '^(virbr|vnet)' || true
  { iptables-legacy-save; iptables-nft-save; } 2>/dev/null | grep '^:LIBVIRT' || true
  pgrep -af -- "$cache/(session|pool)" || true
}

export TMPDIR=$cache/tmp VAGRANT_HOME=$cache/home VAGRANT_DOTFILE_PATH=$cache/dot VAGRANT_CHECKPOINT_DISABLE=1 \
  VAGRANT_BOX_UPDATE_CHECK_DISABLE=1 VAGRANT_DEFAULT_PROVIDER=libvirt
if [ "${NETMGR_VM_SESSION:-}" = inside ]; then
  run_all
  exit
fi
mkdir -p "$TMPDIR"
probe
exec 9>"$cache/lock"
flock -n 9 || broken "another run uses $cache"
have_box
if [ -S /run/libvirt/libvirt-sock ] && virsh -q -c qemu:///system uri >/dev/null 2>&1; then
  run_all
  exit
fi
rm -rf "$cache/dot" "$cache/pool" "$TMPDIR" # the machines of an earlier private session are gone with it
export NETMGR_VM_POOL=$cache/pool
mkdir -p "$NETMGR_VM_POOL" "$TMPDIR"
arguments=(--suite "$suite" "${parts[@]}")
[ -z "$require" ] || arguments=(--require "${arguments[@]}")
[ -z "$quick" ] || arguments=(--quick "${arguments[@]}")
before=$(remains)
status=0
# Killed with this script, whatever kills it; session.sh takes everything else along.
setpriv --pdeathsig KILL ./session.sh "$cache/session" "$PWD/run-tests.sh" "${arguments[@]}" 9>&- ||
  status=$?
rm -rf "$cache/pool" "$cache/session" "$cache/dot" "$TMPDIR"
[ "$(remains)" = "$before" ] || broken "left behind on this host: $(remains)"
exit "$status"
