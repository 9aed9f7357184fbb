#!/usr/bin/env bash
# Runs one part of tests/vm in the machine that it is started in, as root.
#
#   guest-tests.sh PROJECT PART RESULTS [quick]     PART: a folder of tests/vm
#
# `quick` leaves out what is marked long.
# Leaves RESULTS/PART.xml (JUnit) and RESULTS/PART.facts: what only this machine can say of itself.
# Nothing collected is a failure (pytest's status 5).
set -euo pipefail
cd "$1"
readonly part=$2 results=$3
chosen=()
[ "${4:-}" != quick ] || chosen=(-m "not long")

mkdir -p "$results"
status=0
NETMGR_IN_VM=1 /opt/venv/bin/pytest -q -p no:cacheprovider --rootdir tests/vm -c tests/vm/pytest.ini \
  "tests/vm/$part" ${chosen[@]+"${chosen[@]}"} --junit-xml "$results/$part.xml" || status=$?
{
  printf 'part=%s%s\nstatus=%d\n' "$part" "${4:+ ($4)}" "$status"
  printf 'kernel=%s\nvirtualisation=%s\n' "$(uname -r)" "$(systemd-detect-virt || true)"
  printf 'boot_id=%s\n' "$(cat /proc/sys/kernel/random/boot_id)"
  printf 'system=%s\n' "$(. /etc/os-release && echo "$PRETTY_NAME")"
  printf 'tests=%s\n' "$(sed -n 's/.*<testsuite [^>]*tests="\([0-9]*\)".*/\1/p' "$results/$part.xml" | head -n 1)"
} >"$results/$part.facts"
exit "$status"
