#!/usr/bin/env bash
# Installs netmgr as a service of this host, and takes it away again.
#
#   packaging/install.sh install     into /opt/netmgr, from this clone; installs or upgrades
#   packaging/install.sh uninstall   all of that and the sandboxes; configuration and state stay
#   packaging/install.sh purge       uninstall, and configuration, state, journal and group too
#
# May be run again: the result is the same. It starts nothing, and restarts a service that runs.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022 # what is installed is for everybody to read, whatever the caller's mask

readonly prefix=/opt/netmgr
readonly venv=$prefix/venv
readonly command=/usr/local/bin/netmgr
readonly unit=/etc/systemd/system/netmgr.service
readonly sandbox_unit=/etc/systemd/system/netmgr-sandbox@.service # a sandbox for services
readonly config_dir=/etc/netmgr
readonly state_dir=/var/lib/netmgr
readonly run_dir=/run/netmgr
readonly group=netmgr # the default of the setting socket_group

say() { printf 'install: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

has_systemd() { [ -d /run/systemd/system ]; } # sd_booted(3)

install_venv() {
  local python
  # The system's interpreter, not one of root's own: members of the group run it, too.
  python=$(PATH=/usr/local/bin:/usr/bin:/bin packaging/setup.sh python)
  # An environment whose interpreter has gone (a new release of the distribution) is made anew.
  "$venv/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$venv"
  say "installing netmgr into $venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --upgrade . >&2
  # Compiled by every processor instead of by one; of a file that cannot be, pip would say nothing.
  "$venv/bin/python" -m compileall -q -j 0 "$venv/lib" >/dev/null || true
  ln -sfn "$venv/bin/netmgr" "$command"
}

install_texts() {
  rm -rf "$prefix/doc"
  install -d "$prefix/doc/docs"
  install -m 0644 README.md ARCHITECTURE.md LICENSE "$prefix/doc"
  install -d "$prefix/doc/docs/runtimes"
  install -m 0644 docs/*.md "$prefix/doc/docs"
  install -m 0644 docs/runtimes/*.md "$prefix/doc/docs/runtimes"
  cp -r examples "$prefix/doc/examples"
}

install_config() {
  install -d -m 0755 "$config_dir"
  [ -e "$config_dir/netmgr.yaml" ] || cat >"$config_dir/netmgr.yaml" <<TEXT
# Settings of netmgr: $prefix/doc/docs/config.md has every key with its default.
# \`systemctl reload netmgr\` takes up those that are marked live, a restart takes up all.
#
#   sandbox_pool: 10.77.0.0/16
#   dns_servers: [9.9.9.9]
TEXT
}

install_unit() {
  install -d "${unit%/*}"
  install -m 0644 packaging/netmgr.service "$unit"
  install -m 0644 packaging/netmgr-sandbox@.service "$sandbox_unit"
  has_systemd || { say "systemd does not run here: the unit waits in $unit"; return; }
  systemctl daemon-reload
  systemctl try-restart netmgr.service # an upgrade; sandboxes keep their fence meanwhile
}

install_all() {
  packaging/setup.sh packages
  getent group "$group" >/dev/null || groupadd --system "$group"
  install_venv
  install_texts
  install_config
  install_unit
  say "done. Next: netmgr doctor; systemctl enable --now netmgr"
}

uninstall_all() {
  if [ -S "$run_dir/api.sock" ] && [ -x "$command" ]; then
    "$command" sandbox delete --all || say "no daemon answers: sandboxes stay as they are"
  fi
  if [ -x "$command" ]; then
    "$command" oci uninstall || say "netmgr-runc and netmgr-hook stay: they are not ours"
    "$command" cni uninstall || say "the CNI plugin stays: it is not ours"
    "$command" netavark uninstall || say "netavark's driver stays: it is not ours"
  fi
  if has_systemd && [ -e "$unit" ]; then
    systemctl disable --now netmgr.service
  fi
  rm -f "$unit" "$sandbox_unit" "$command"
  ! has_systemd || systemctl daemon-reload
  if [ -e /run/netns/netmgr-hub ]; then
    ip netns del netmgr-hub
  fi
  rm -rf "$prefix" "$run_dir"
  say "removed; $config_dir and $state_dir stay (make purge removes them, too)"
}

purge_all() {
  uninstall_all
  rm -rf "$config_dir" "$state_dir"
  ! getent group "$group" >/dev/null || groupdel "$group"
  say "removed $config_dir, $state_dir and the group $group"
}

case ${1:-} in
  install | uninstall | purge)
    [ "$(id -u)" = 0 ] || fail "needs root: sudo make $1"
    "$1_all"
    ;;
  *) fail "usage: packaging/install.sh install|uninstall|purge" ;;
esac
