#!/bin/sh
# Locks exact versions with hashes, one file per deployable. No index address is recorded.
set -eu
uv=${1:-uv}
for extra in gateway engine operator local dev; do
  "$uv" pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-annotate \
    --python-version 3.11 --python-platform x86_64-manylinux_2_35 --extra "$extra" --output-file "requirements/$extra.txt" pyproject.toml
  echo "requirements/$extra.txt: $(grep -c '==' "requirements/$extra.txt") packages"
done
