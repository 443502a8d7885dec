#!/usr/bin/env bash
# Makes a release in dist/: wheel, sdist, chart, images, what is in each (CycloneDX), and SHA256SUMS over all.
#
#   release.sh              everything
#   release.sh --no-images  all but the images
#
#   IMAGES  which ("operator gateway engine-cpu"); engine needs docker and NVIDIA's registry
#   VENV    environment with the locked uv and hatchling (.venv)
#
# The version is pyproject.toml's; CONTRIBUTING.md says what comes before and after. Wheel, sdist and chart have the
# same bytes whenever they are made of the same commit.
set -euo pipefail
cd "$(dirname "$0")/.."

SYFT=1.52.0
TOOLS=$HOME/.cache/tercet/tools KUBE_TOOLS=$HOME/.cache/tercet/kube/v1.35.4/bin
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
BIN=$(realpath -s "${VENV:-.venv}")/bin
read -ra IMAGES <<< "${IMAGES:-operator gateway engine-cpu}"
OUT=dist
export PATH=$PATH:$TOOLS:$KUBE_TOOLS
export SYFT_CHECK_FOR_APP_UPDATE=false SYFT_FILE_METADATA_SELECTION=none

fail() { echo "release.sh: $*" >&2; exit 1; }

need() { command -v "$1" >/dev/null || fail "$1 not found: $2"; }

check_tree() {
  [ -z "$(git status --porcelain)" ] ||
    fail "the tree has changes that are not committed: a release is made of a commit; see git status"
  grep -Eq "^## \[?${VERSION//./\\.}\]?( |$)" CHANGELOG.md ||
    fail "CHANGELOG.md has no entry for $VERSION: turn \"## Unreleased\" into \"## $VERSION - $(date +%F)\""
  local tagged
  tagged=$(git rev-parse --quiet --verify "refs/tags/v$VERSION^{commit}" || git rev-parse HEAD)
  [ "$tagged" = "$(git rev-parse HEAD)" ] ||
    fail "v$VERSION is the tag of another commit: raise the version with hack/version.sh"
}

check_tools() {
  [ -x "$BIN/uv" ] || fail "$BIN/uv not found: make install"
  need helm "hack/kube/build-tools.sh builds it, or take any Helm 4"
  need syft "GOBIN=$TOOLS go install github.com/anchore/syft/cmd/syft@v$SYFT"
}

# The wheel is built from the sdist, which proves that the sdist is whole.
build_python() {
  "$BIN/uv" build --quiet --python "$BIN/python" --no-build-isolation --out-dir "$OUT" .
  rm "$OUT/.gitignore"
}

# From the commit, whose time its files get.
build_chart() {
  git archive HEAD charts/tercet | tar -x -C "$WORK"
  helm package "$WORK/charts/tercet" --destination "$WORK" >/dev/null
  mv "$WORK/tercet-$VERSION.tgz" "$OUT/tercet-chart-$VERSION.tgz"
}

list_contents() { # SOURCE NAME
  syft scan "$1" --quiet --source-name "$2" --source-version "$VERSION" \
    --output "cyclonedx-json=$OUT/$2-$VERSION.cdx.json"
}

# A wheel names ranges; what `make install` takes for them is the lock.
list_wheel() {
  mkdir "$WORK/wheel"
  "$BIN/python" -m zipfile --extract "$OUT/tercet-$VERSION-py3-none-any.whl" "$WORK/wheel"
  cp requirements/local.txt "$WORK/wheel/requirements.txt"
  list_contents "dir:$WORK/wheel" tercet
}

build_images() {
  hack/images.sh "${IMAGES[@]}"
  local image
  for image in "${IMAGES[@]}"; do
    list_contents "docker-archive:build/images/$image.tar" "tercet-$image"
    gzip --no-name --stdout "build/images/$image.tar" > "$OUT/tercet-$image-$VERSION.tar.gz"
  done
}

with_images=true
case "${1:-}" in
  "") ;;
  --no-images) with_images=false ;;
  *) fail "unknown option $1: there is --no-images" ;;
esac
check_tree
check_tools
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
rm -rf "$OUT"
mkdir "$OUT"
build_python
build_chart
list_wheel
if $with_images; then build_images; fi
(cd "$OUT" && sha256sum -- * > "$WORK/SHA256SUMS")
mv "$WORK/SHA256SUMS" "$OUT/"
echo "Tercet $VERSION, $(git rev-parse --short HEAD):"
(cd "$OUT" && du -h -- *)
