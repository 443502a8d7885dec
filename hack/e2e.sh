#!/usr/bin/env bash
# Operator, chart and product on a real Kubernetes: `make e2e`. Needs root, Go and Debian's apt.
#
#   e2e.sh                 everything: API server tests, then images, a node with real pods, the chart, listeners
#   e2e.sh api             only what needs an API server and no node
#   e2e.sh live [TEST...]  only what needs real pods (tests/live)
#   e2e.sh ci              what fits into a quarter of an hour, and CI runs: the chart's tests; on real pods both
#                          layouts, `helm test`, no broken speech over six happenings, upgrade, rollback, uninstall
#
# The Kubernetes programs are built once (about ten minutes), images once and then in seconds; both are kept under
# ~/.cache/tercet. What a failure leaves (events, logs, descriptions, the timeline) is in build/e2e, and the lines
# that most often say why are printed. Nothing is left running or mounted, however it ends.
set -euo pipefail
cd "$(dirname "$0")/.."

PART=${1:-all}
LIVE_TESTS=("${@:2}")
API_TESTS=(tests/chart tests/cluster)
LIMIT_S=14400
case $PART in
  all | api | live) [ ${#LIVE_TESTS[@]} -gt 0 ] || LIVE_TESTS=(tests/live) ;;
  ci)
    API_TESTS=(tests/chart)
    LIVE_TESTS=(tests/live/test_serving.py tests/live/test_no_broken_speech.py tests/live/test_upgrading.py)
    TERCET_HAPPENINGS="settings change,callers hang up,listener asleep,pod deleted,operator killed"
    export TERCET_HAPPENINGS+=",gateways restarted" TERCET_OPERATOR_KILLS=3
    LIMIT_S=1500
    ;;
  *) sed -n '2,/^set/{/^#/p}' "$0"; exit 2 ;;
esac
fail() { echo "e2e.sh: $*" >&2; exit 1; }

# Before minutes are spent on what cannot end well.
command -v go >/dev/null || fail "go is missing: install Go 1.24 or newer"
command -v kubectl >/dev/null || fail "kubectl is missing: any recent release serves"
[ "$(id -u)" = 0 ] || fail "root is needed: it installs packages, and a node mounts and makes networks"
[ -x .venv/bin/python ] || fail "no environment: make install"
export KUBE_RUN=${KUBE_RUN:-/tmp/tercet-e2e} KUBE_PORT=${KUBE_PORT:-16443}
export KUBE_BIN=${KUBE_BIN:-$HOME/.cache/tercet/kube/v1.35.4/bin}
export PATH=$KUBE_BIN:$PATH TERCET_ARTEFACTS=$PWD/build/e2e PYTHONUNBUFFERED=1
# From a terminal, Ctrl-C reaches the tests; else whatever they started ends with them when they hang.
FOREGROUND=()
[ ! -t 0 ] || FOREGROUND=(--foreground)
PYTEST=(timeout "${FOREGROUND[@]}" --signal INT --kill-after 120 "$LIMIT_S" .venv/bin/python -m pytest -m "not soak")
API_PACKAGES=(prometheus openssl ca-certificates)
NODE_PACKAGES=(buildah debootstrap containerd runc containernetworking-plugins nftables conntrack iproute2)

images=  # the process that builds them

install_missing() {
  local missing=()
  for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return
  echo "e2e.sh: installing ${missing[*]}"
  apt-get update -qq
  # Programs are wanted, not daemons: nothing may be started on installation. Machines that are images of containers
  # have such a policy already.
  local policy=/usr/sbin/policy-rc.d made=false
  [ -e $policy ] || { made=true; printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  if $made; then rm -f $policy; fi
}

keep_artefacts() {
  export KUBECONFIG=$KUBE_RUN/kubeconfig
  mkdir -p "$TERCET_ARTEFACTS"
  kubectl get omni,deployments,pods,services,endpointslices -A -o wide > "$TERCET_ARTEFACTS/objects.txt" 2>&1 || true
  kubectl get events -A --sort-by=.lastTimestamp > "$TERCET_ARTEFACTS/events.txt" 2>&1 || true
  kubectl get omni -A -o yaml > "$TERCET_ARTEFACTS/omni.yaml" 2>&1 || true
  for pod in $(kubectl get pods -A -l app.kubernetes.io/name=tercet -o jsonpath='{range .items[*]}{.metadata.namespace}/{.metadata.name} {end}'); do
    kubectl logs -n "${pod%/*}" "${pod#*/}" --all-containers --prefix > "$TERCET_ARTEFACTS/${pod#*/}.log" 2>&1 || true
  done
  rm -rf "$TERCET_ARTEFACTS/kubernetes"
  cp -r "$KUBE_RUN/log" "$TERCET_ARTEFACTS/kubernetes" 2>/dev/null || true
}

# What most often says why, for those who have only the output.
show_artefacts() {
  local part
  echo "=== what the cluster held (all of it: $TERCET_ARTEFACTS)"
  cut -c1-180 "$TERCET_ARTEFACTS/objects.txt" | head -60
  echo "=== warnings"
  grep -w Warning "$TERCET_ARTEFACTS/events.txt" | grep -v MissingClusterDNS | cut -c1-300 | tail -30
  for part in "$TERCET_ARTEFACTS"/*.log "$TERCET_ARTEFACTS"/kubernetes/{kubelet,containerd,apiserver}.log; do
    [ -f "$part" ] || continue
    echo "=== the end of ${part#"$TERCET_ARTEFACTS"/}"
    tail -8 "$part" | cut -c1-400
  done
}

# A second name for an image on the node, so that there is something to change to.
tag_next() {
  local images=(ctr --address "$KUBE_RUN/containerd/containerd.sock" --namespace k8s.io images) name
  name=$("${images[@]}" list --quiet | grep "/$1:" | grep -v ':next$' | head -1)
  "${images[@]}" tag --force "$name" "${name%:*}:next" >/dev/null
}

finish() {
  local code=$?
  trap - EXIT INT TERM
  [ -z "$images" ] || ! kill -- "-$images" 2>/dev/null || wait "$images" || true
  if [ "$code" -ne 0 ]; then
    echo "e2e.sh: failed with $code" >&2
    keep_artefacts
    show_artefacts || true
  fi
  hack/kube/cluster.sh down
  exit "$code"
}

say() { echo "e2e.sh: $(date -u +%T) $*"; }

# Beside the Kubernetes programs, since each of the two often waits for the network.
build_images() {
  mkdir -p build
  setsid hack/images.sh > build/images.log 2>&1 < /dev/null &
  images=$!
}

wait_for_images() {
  wait "$images" || { cat build/images.log >&2; return 1; }
  grep ' MB' build/images.log
}

if [ "$PART" != api ]; then
  install_missing "${NODE_PACKAGES[@]}"
  rm -rf "$TERCET_ARTEFACTS"
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  build_images
fi
say "Kubernetes programs and images"
hack/kube/build-tools.sh
[ -z "$images" ] || wait_for_images
install_missing "${API_PACKAGES[@]}"
if [ "$PART" != live ]; then
  say "tests that need an API server"
  "${PYTEST[@]}" "${API_TESTS[@]}"
fi
if [ "$PART" != api ]; then
  say "a node"
  hack/kube/cluster.sh up
  for image in operator gateway engine-cpu; do hack/kube/cluster.sh load "build/images/$image.tar"; done
  tag_next engine-cpu
  say "tests on real pods"
  TERCET_LIVE_KUBECONFIG=$KUBE_RUN/kubeconfig "${PYTEST[@]}" -s "${LIVE_TESTS[@]}"
fi
say "done"
