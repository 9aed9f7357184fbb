#!/usr/bin/env bash
# The root half of `make test`: every layer that touches the kernel, one after the other, each with
# its duration, and one closing line. A skipped test fails the run: the set-up installs every tool.
set -uo pipefail
cd "$(dirname "$0")/.."

readonly layers=(contract netns acceptance runtimes clients attacks chaos docs)

if [ "$(id -u)" != 0 ]; then
  echo "make test: needs root for network namespaces and packet filters: sudo make test" >&2
  exit 1
fi

# The machine of tests/vm is made while the others run; it is started when they are done, so that
# neither waits for the other's processor.
readonly box_log=vagrant/.cache/box.log
readonly box_limit_s=1800 # ten times what a build takes alone
readonly vm_limit_s=2400  # three times what it takes emulated; killed, it takes its machine along
mkdir -p "${box_log%/*}"
packaging/setup.sh vm || echo "make test: no machine for tests/vm" >&2
setpriv --pdeathsig KILL timeout "$box_limit_s" setpriv --pdeathsig KILL \
  nice -n 19 vagrant/build-box.sh vagrant/.cache/box >"$box_log" 2>&1 &
readonly box_job=$!

# A host that can have no machine (run-tests.sh: 2, 77) is told so, and passes; CI is no such host.
vm_tests() {
  local status=0 require=()
  [ "${NETMGR_TEST_VM:-}" != required ] || require=(--require)
  wait "$box_job" || tail -n 20 "$box_log"
  timeout --kill-after=5 "$vm_limit_s" \
    vagrant/run-tests.sh ${require[@]+"${require[@]}"} --quick service || status=$?
  case $status in
    0) ;;
    2 | 77) [ ${#require[@]} -eq 0 ] ;;
    *) false ;;
  esac
}

export NETMGR_TEST_STRICT=1
failed=()
for layer in "${layers[@]}"; do
  [ -n "$(find "tests/$layer" -name 'test_*.py' -print -quit 2>/dev/null)" ] || continue
  began=$SECONDS
  printf '\n== tests/%s\n' "$layer"
  .venv/bin/pytest -q "tests/$layer" || failed+=("$layer")
  printf '== tests/%s took %d s\n' "$layer" $((SECONDS - began))
done

began=$SECONDS
printf '\n== tests/vm (quick)\n'
vm_tests || failed+=(vm)
printf '== tests/vm took %d s\n' $((SECONDS - began))

echo
if [ ${#failed[@]} -gt 0 ]; then
  echo "make test: FAILED in: ${failed[*]}"
  exit 1
fi
echo "make test: everything passed in $SECONDS s (after the checks above)"
