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

export NETMGR_TEST_STRICT=1
failed=()
for layer in "${layers[@]}"; do
  [ -n "$(find "tests/$layer" -name 'test_*.py' -print -quit 2>/dev/null)" ] || continue
  began=$SECONDS
  printf '\n== tests/%s\n' "$layer"
  .venv/bin/pytest -q "tests/$layer" || failed+=("$layer")
  printf '== tests/%s took %d s\n' "$layer" $((SECONDS - began))
done

echo
if [ ${#failed[@]} -gt 0 ]; then
  echo "make test: FAILED in: ${failed[*]}"
  exit 1
fi
echo "make test: everything passed in $SECONDS s (after the checks above)"
