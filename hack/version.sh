#!/usr/bin/env bash
# Gives Tercet another version: in pyproject.toml, where it stands, and in the files that repeat it.
#   version.sh 0.2.0
# tests/release/test_versions.py says whether one was forgotten.
set -euo pipefail
cd "$(dirname "$0")/.."

new=${1:?usage: version.sh NEW, such as 0.2.0}
[[ $new =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "version.sh: $new is not major.minor.patch" >&2; exit 1; }
old=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
pattern=${old//./\\.}

sed -i "s/^version = \"$pattern\"$/version = \"$new\"/" pyproject.toml
sed -i -E "s/^((appV|v)ersion): $pattern$/\1: $new/" charts/tercet/Chart.yaml
# Images, wherever they stand with their tag.
tagged="(tercet/[a-z-]+:|\\\$image:|TERCET_VERSION:-)"
git grep -lE "$tagged$pattern" | xargs sed -i -E "s#$tagged$pattern#\1$new#g"
git diff --stat
