#!/bin/sh
# Locks exact versions with hashes, one file per deployable. No index address is recorded.
set -eu
uv=${1:-uv}

lock() { # FILE EXTRA... [-- FURTHER OPTION...]
  file=requirements/$1.txt
  shift
  options=
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options="$options --extra $1"; shift; done
  [ $# -eq 0 ] || shift
  # shellcheck disable=SC2086  # options are words
  "$uv" pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-annotate \
    --python-version 3.11 --python-platform x86_64-manylinux_2_35 $options "$@" --output-file "$file" pyproject.toml
  echo "$file: $(grep -c '==' "$file") packages"
}

lock gateway gateway
lock operator operator
lock engine engine cli # pods fetch their model with the `tercet` command
lock local local
lock dev dev
lock demo dev demo -- --constraint requirements/dev.txt # what is added to dev

# torch's wheel asks for all of CUDA; on a CPU it loads three of its libraries and stand-ins for the others
# (images/absent-cuda.sh), which makes the image three gigabytes smaller.
absent=$(sed -n 's/^\(nvidia-[a-z0-9-]*\|cuda-[a-z0-9-]*\|triton\)==.*/\1/p' requirements/engine.txt |
  grep -vx -e nvidia-cuda-cupti -e nvidia-cuda-runtime -e nvidia-cufile | sed 's/^/--no-emit-package /')
# shellcheck disable=SC2086
lock engine-cpu engine cli triton -- $absent
