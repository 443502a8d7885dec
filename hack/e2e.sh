#!/usr/bin/env bash
# Operator, chart and product on a real Kubernetes: `make e2e`. Needs root, Go and Debian's apt.
#
#   e2e.sh                 everything: API server tests, then images, a node with real pods, the chart, listeners
#   e2e.sh api             only what needs an API server and no node
#   e2e.sh live [TEST...]  only what needs real pods (tests/live)
#
# The Kubernetes programs are built once (about ten minutes), images once and then in seconds; both are kept under
# ~/.cache/tercet. What a failure leaves (events, logs, descriptions, the timeline) is in build/e2e.
set -euo pipefail
cd "$(dirname "$0")/.."

PART=${1:-all}
LIVE_TESTS=("${@:2}")
[ ${#LIVE_TESTS[@]} -gt 0 ] || LIVE_TESTS=(tests/live)
export KUBE_RUN=${KUBE_RUN:-/tmp/tercet-e2e} KUBE_PORT=${KUBE_PORT:-16443}
export KUBE_BIN=${KUBE_BIN:-$HOME/.cache/tercet/kube/v1.35.4/bin}
export PATH=$KUBE_BIN:$PATH TERCET_ARTEFACTS=$PWD/build/e2e
PYTEST=(.venv/bin/python -m pytest -m "not soak")
API_PACKAGES=(prometheus)
NODE_PACKAGES=(buildah debootstrap containerd runc containernetworking-plugins nftables conntrack)

install_missing() {
  local missing=()
  for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return
  apt-get update -qq
  # Programs are wanted, not daemons: nothing may be started on installation.
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  rm -f /usr/sbin/policy-rc.d
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
  cp -r "$KUBE_RUN/log" "$TERCET_ARTEFACTS/kubernetes" 2>/dev/null || true
}

# A second name for an image on the node, so that there is something to change to.
tag_next() {
  local images=(ctr --address "$KUBE_RUN/containerd/containerd.sock" --namespace k8s.io images) name
  name=$("${images[@]}" list --quiet | grep "/$1:" | grep -v ':next$' | head -1)
  "${images[@]}" tag --force "$name" "${name%:*}:next" >/dev/null
}

finish() {
  local code=$?
  [ "$code" -eq 0 ] || keep_artefacts
  hack/kube/cluster.sh down
  exit "$code"
}

hack/kube/build-tools.sh
if [ "$PART" != live ]; then
  install_missing "${API_PACKAGES[@]}"
  "${PYTEST[@]}" tests/chart tests/cluster
fi
if [ "$PART" != api ]; then
  install_missing "${NODE_PACKAGES[@]}"
  trap finish EXIT
  hack/kube/cluster.sh up
  hack/images.sh --load
  tag_next engine-cpu
  TERCET_LIVE_KUBECONFIG=$KUBE_RUN/kubeconfig "${PYTEST[@]}" -s "${LIVE_TESTS[@]}"
fi
