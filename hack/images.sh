#!/usr/bin/env bash
# Builds the images as archives (those of `docker save`) in build/images/, and gives them to the local cluster.
#
#   images.sh [TARGET...]         operator gateway engine-cpu (default), or engine, which needs NVIDIA's registry
#   images.sh --load [TARGET...]  builds them and runs hack/kube/cluster.sh load
#
# At its end it prints how large they are, and fails where the operator or the gateway is too large to pull quickly.
#
#   VERSION            the images' tag (the version in pyproject.toml)
#   TERCET_PYTHON_BASE python image to build on; without docker the default is made by debootstrap
#
# Uses docker where its daemon runs, else buildah as root. Its storage, with all layers, stays in
# ~/.cache/tercet/images, so that a change of the code installs no package anew; remove it to free the disk.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)}
REPOSITORY=tercet
OUT=build/images
CACHE=$HOME/.cache/tercet/images
DEBIAN_BASE=localhost/tercet-python:bookworm-slim
PLATFORM=linux/amd64

fail() { echo "images.sh: $*" >&2; exit 1; }

buildah_() { buildah --root "$CACHE/store" --runroot "$CACHE/run" --storage-driver overlay "$@"; }

# The base that stands in for python:3.11-slim-bookworm where no registry can be reached; slim as that is.
make_debian_base() {
  buildah_ inspect --type image "$DEBIAN_BASE" >/dev/null 2>&1 && return
  command -v debootstrap >/dev/null || fail "debootstrap not found: apt-get install debootstrap"
  local root container
  root=$(mktemp -d)
  debootstrap --variant=minbase --include=python3,python3-venv,libpython3.11,ca-certificates bookworm "$root" >/dev/null
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{man,info,locale}/*
  find "$root/usr/share/doc" -type f ! -name copyright -delete
  container=$(buildah_ from scratch)
  buildah_ add --quiet "$container" "$root" >/dev/null
  buildah_ commit --quiet --rm "$container" "$DEBIAN_BASE" >/dev/null
  rm -rf "$root"
}

build_with_docker() {
  docker build --quiet --platform "$PLATFORM" --target "$1" --tag "$2" \
    ${TERCET_PYTHON_BASE:+--build-arg PYTHON_IMAGE="$TERCET_PYTHON_BASE"} .
  docker save --output "$OUT/$1.new" "$2"
}

build_with_buildah() {
  buildah_ bud --quiet --format docker --layers --isolation chroot --network host --volume /etc/ssl/certs:/etc/ssl/certs:ro \
    --target "$1" --tag "$2" --build-arg PYTHON_IMAGE="${TERCET_PYTHON_BASE:-$DEBIAN_BASE}" .
  rm -f "$OUT/$1.new"
  buildah_ push --quiet "$2" "docker-archive:$OUT/$1.new:$2"
}

load=false
if [ "${1:-}" = --load ]; then load=true; shift; fi
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(operator gateway engine-cpu)
mkdir -p "$OUT" "$CACHE"

build=build_with_docker
if ! docker info >/dev/null 2>&1; then
  command -v buildah >/dev/null || fail "neither a docker daemon nor buildah here: apt-get install buildah"
  build=build_with_buildah
  [ -n "${TERCET_PYTHON_BASE:-}" ] || make_debian_base
fi
for target in "${targets[@]}"; do
  image=$REPOSITORY/$target:$VERSION
  "$build" "$target" "$image"
  mv "$OUT/$target.new" "$OUT/$target.tar"
  echo "$image: $OUT/$target.tar"
  if $load; then hack/kube/cluster.sh load "$OUT/$target.tar"; fi
done
archives=("${targets[@]/#/$OUT/}")
hack/image_sizes.py "${archives[@]/%/.tar}"
