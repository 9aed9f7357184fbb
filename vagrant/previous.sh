#!/usr/bin/env bash
# Prints the version that an operator would come from, as git names it: the latest tag, else a state
# some days old. Fails where this clone has no such history.
set -euo pipefail
cd "$(dirname "$0")"

readonly previous_commits=100 # that far back it lies while none has a tag

tree=$(git describe --tags --abbrev=0 --match 'v*' HEAD~1 2>/dev/null) || tree=HEAD~$previous_commits
git cat-file -e "$tree^{tree}" 2>/dev/null || exit 1
echo "$tree"
