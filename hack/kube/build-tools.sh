#!/usr/bin/env bash
# Builds what a real Kubernetes on this machine needs from Go modules: etcd, the control plane, kubelet,
# kube-proxy, helm, helm-unittest, kwok, kubeconform and the pause program of pod sandboxes.
# Result: $KUBE_BIN (default ~/.cache/tercet/kube/v1.35.4/bin). About 9 minutes on 2 cores the first time,
# then nothing is left to do. kubectl is not built: any recent one serves.
set -euo pipefail

K8S=1.35.4 ETCD=3.6.8 HELM=4.3.1 KWOK=0.7.0 KUBECONFORM=0.7.0 HELM_UNITTEST=1.1.2
KUBERNETES=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)
KUBE_BIN=${KUBE_BIN:-$HOME/.cache/tercet/kube/v$K8S/bin}
HERE=$(cd "$(dirname "$0")" && pwd)

command -v go >/dev/null || { echo "build-tools.sh: go is missing: install Go 1.24 or newer" >&2; exit 1; }
mkdir -p "$KUBE_BIN"
work=$(mktemp -d)
# Programs are put in place when they are whole, so that a build that is cut short goes on where it was.
made=$(mktemp -d -p "$KUBE_BIN" .made.XXXXXX)
trap 'rm -rf "$work" "$made"' EXIT
trap 'exit 143' TERM

have() {
  local program
  for program; do [ -x "$KUBE_BIN/$program" ] || return 1; done
}

make() {
  ("$@")
  mv "$made"/* "$KUBE_BIN"
}

# k8s.io/kubernetes replaces its staging modules by folders of its own tree; here they are the published ones.
write_kubernetes_module() {
  go mod download "k8s.io/kubernetes@v$K8S"
  local upstream
  upstream=$(go env GOMODCACHE)/cache/download/k8s.io/kubernetes/@v/v$K8S.mod
  printf 'module tools\n\ngo 1.26\n\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$K8S"
  awk -v version="v0.${K8S#1.}" '/^\tk8s.io\/.* => \.\/staging/ {print "\t" $1, "=>", $1, version}' "$upstream"
  printf ')\n'
}

build_kubernetes() {
  local packages=("${KUBERNETES[@]/#/k8s.io/kubernetes/cmd/}")
  cd "$work"
  write_kubernetes_module > "$work/module"
  mv "$work/module" go.mod
  go get -tool "${packages[@]/%/@v$K8S}"
  # Without the version the programs call themselves v0.0.0, and clients refuse to talk to them.
  go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$K8S" -o "$made" "${packages[@]}"
}

build_etcd() {
  mkdir "$work/etcd"
  cd "$work/etcd"
  go mod init etcd 2>/dev/null
  go get -tool "go.etcd.io/etcd/server/v3@v$ETCD"
  go build -ldflags '-s -w' -o "$made/etcd" go.etcd.io/etcd/server/v3
}

build_helm_unittest() {
  mkdir "$work/helm-unittest"
  cd "$work/helm-unittest"
  go mod init unittest 2>/dev/null
  # As in its own module, where a replacement counts for that module alone.
  go mod edit -replace github.com/vmware-labs/yaml-jsonpath@v0.3.2=github.com/helm-unittest/yaml-jsonpath@v0.4.0
  go get -tool "github.com/helm-unittest/helm-unittest/cmd/helm-unittest@v$HELM_UNITTEST"
  go build -ldflags '-s -w' -o "$made/helm-unittest" github.com/helm-unittest/helm-unittest/cmd/helm-unittest
}

have "${KUBERNETES[@]}" || make build_kubernetes
have etcd || make build_etcd
have helm-unittest || make build_helm_unittest
have pause || CGO_ENABLED=0 make go build -ldflags '-s -w' -o "$made/pause" "$HERE/pause/main.go"
export GOBIN=$made GOFLAGS=-ldflags=-s
have helm || make go install "helm.sh/helm/v4/cmd/helm@v$HELM"
have kwok || make go install "sigs.k8s.io/kwok/cmd/kwok@v$KWOK"
have kubeconform || make go install "github.com/yannh/kubeconform/cmd/kubeconform@v$KUBECONFORM"
ls "$KUBE_BIN"
