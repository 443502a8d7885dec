#!/usr/bin/env bash
# A real one-node Kubernetes as plain processes, for tests and for trying things out.
#
#   cluster.sh control         the control plane alone (seconds): CRDs, RBAC, garbage collection, kwok nodes
#   cluster.sh up              control plane and a node that runs real pods, with Services, logs and exec
#   cluster.sh load IMAGE.tar  gives the node an image: an archive that hack/images.sh made
#   cluster.sh down            stops what it started, and nothing else
#
# Then: export KUBECONFIG=$KUBE_RUN/kubeconfig (both print the line)
#
#   KUBE_RUN        folder of this cluster: state, logs, kubeconfig (/tmp/tercet-kube)
#   KUBE_PORT       port of the API server; etcd has the two above it (16443)
#   KUBE_BIN        the programs that build-tools.sh made
#   TERCET_CLUSTER  own (default); current: kubectl's current context; kind: a kind cluster named tercet
#
# Control planes with a KUBE_RUN and a KUBE_PORT of their own run side by side. `up` needs root, and a machine
# carries one node at a time, since pod network and Service rules belong to the whole machine.
set -euo pipefail

R=${KUBE_RUN:-/tmp/tercet-kube}
B=${KUBE_BIN:-$HOME/.cache/tercet/kube/v1.35.4/bin}
PORT=${KUBE_PORT:-16443}
CLUSTER=${TERCET_CLUSTER:-own}
HERE=$(cd "$(dirname "$0")" && pwd)
SERVICES=10.96.0.0/16 KUBERNETES_SERVICE=10.96.0.1 PODS=10.88.0.0/16
NETWORK=tercet-pods BRIDGE=tercet0
PAUSE_IMAGE=localhost/pause:1
SOCKET=$R/containerd/containerd.sock
# By default controllers ask 20 times a second at most, and a thousand deployments take minutes.
EAGER=(--kube-api-qps 500 --kube-api-burst 1000)

fail() { echo "cluster.sh: $*" >&2; exit 1; }

runs() { [ -f "$R/$1.pid" ] && kill -0 "$(cat "$R/$1.pid")" 2>/dev/null; }

start() {
  local name=$1
  shift
  setsid "$@" > "$R/log/$name.log" 2>&1 < /dev/null &
  echo $! > "$R/$name.pid"
}

stop() {
  if runs "$1"; then
    local pid
    pid=$(cat "$R/$1.pid")
    kill "$pid"
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$R/$1.pid"
}

# wait_for PROGRAM COMMAND...: until the command succeeds; the program's log explains a failure.
wait_for() {
  local name=$1
  shift
  for _ in $(seq 300); do
    "$@" >/dev/null 2>&1 && return
    runs "$name" || { tail -5 "$R/log/$name.log" >&2; fail "$name ended: see $R/log/$name.log"; }
    sleep 0.2
  done
  fail "timed out: $*: see $R/log/$name.log"
}

need_programs() {
  local missing=() pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || [ -x "${pair%%=*}" ] || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} = 0 ] || fail "missing: install Debian's packages ${missing[*]} (kubectl: any recent release)"
}

write_secrets() {
  local subject=/CN=tercet
  [ -f certs/sa.key ] || openssl genrsa -out certs/sa.key 2048
  openssl rsa -in certs/sa.key -pubout -out certs/sa.pub
  local name
  for name in apiserver kubelet-client; do
    [ -f certs/$name.key ] || openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj $subject \
      -addext "subjectAltName=IP:127.0.0.1,IP:$KUBERNETES_SERVICE,DNS:localhost,DNS:kubernetes.default.svc" \
      -keyout certs/$name.key -out certs/$name.crt
  done
  [ -f certs/tokens.csv ] || echo "$(openssl rand -hex 16),admin,admin,system:masters" > certs/tokens.csv
}

write_kubeconfig() {
  cat > kubeconfig <<K
apiVersion: v1
kind: Config
clusters:
- name: tercet
  cluster:
    server: https://127.0.0.1:$PORT
    certificate-authority-data: $(base64 -w0 certs/apiserver.crt)
users: [{name: admin, user: {token: $(cut -d, -f1 certs/tokens.csv)}}]
contexts: [{name: tercet, context: {cluster: tercet, user: admin}}]
current-context: tercet
K
}

# control ADDRESS [FLAGS]: ADDRESS is where the API server listens: pods cannot reach loopback.
control() {
  local address=$1
  shift
  [ -x "$B/etcd" ] || fail "no programs in $B: run hack/kube/build-tools.sh (about 9 minutes, once)"
  need_programs kubectl=kubectl openssl=openssl
  runs apiserver && fail "a cluster runs in $R already: use it, or choose another KUBE_RUN and KUBE_PORT"
  # From here on something of ours may run: a start that fails leaves nothing behind but its logs.
  trap '[ $? = 0 ] || down' EXIT
  mkdir -p "$R"/{etcd,certs,log}
  chmod 700 "$R/certs"
  cd "$R"
  write_secrets 2>/dev/null || fail "openssl could not make the keys in $R/certs"
  (umask 077; write_kubeconfig)
  export KUBECONFIG=$R/kubeconfig
  start etcd "$B/etcd" --data-dir etcd --unsafe-no-fsync --listen-client-urls "http://127.0.0.1:$((PORT + 1))" \
    --advertise-client-urls "http://127.0.0.1:$((PORT + 1))" --listen-peer-urls "http://127.0.0.1:$((PORT + 2))"
  start apiserver "$B/kube-apiserver" --etcd-servers "http://127.0.0.1:$((PORT + 1))" --secure-port "$PORT" \
    --bind-address "$address" --tls-cert-file certs/apiserver.crt --tls-private-key-file certs/apiserver.key \
    --token-auth-file certs/tokens.csv --authorization-mode Node,RBAC --allow-privileged \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file certs/sa.pub \
    --service-account-signing-key-file certs/sa.key --service-cluster-ip-range "$SERVICES" "$@"
  wait_for apiserver kubectl get --raw /readyz
  start controller-manager "$B/kube-controller-manager" --kubeconfig kubeconfig --leader-elect=false \
    --service-account-private-key-file certs/sa.key --root-ca-file certs/apiserver.crt \
    --use-service-account-credentials --secure-port 0 "${EAGER[@]}"
  start scheduler "$B/kube-scheduler" --kubeconfig kubeconfig --leader-elect=false --secure-port 0 \
    "${EAGER[@]}"
  wait_for controller-manager kubectl get serviceaccount default
}

node_address() { ip -4 -o addr show scope global | awk '{print $4}' | cut -d/ -f1 | head -1; }

write_network() {
  cat > cni/10-bridge.conflist <<C
{"cniVersion": "0.4.0", "name": "$NETWORK", "plugins": [
  {"type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
C
}

write_containerd_settings() {
  # restrict_oom_score_adj: without it runc fails ("can't get final child's PID from pipe") where the machine
  # lacks CAP_SYS_RESOURCE.
  cat > containerd/config.toml <<C
version = 2
root = "$R/containerd/root"
state = "$R/containerd/state"
[grpc]
  address = "$SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$R/cni"
C
}

write_kubelet_settings() {
  # failCgroupV1 and cgroupsPerQOS: machines with cgroup v1 or hybrid cgroups serve as well. imageGC: images are
  # loaded by hand, and nobody brings back what is thrown away when the disk is 85% full.
  cat > kubelet.yaml <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $R/certs/kubelet-client.crt}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
containerRuntimeEndpoint: unix://$SOCKET
evictionHard: {imagefs.available: "1%", nodefs.available: "1%", memory.available: "50Mi"}
C
}

need_node() {
  [ "$(id -u)" = 0 ] || fail "up needs root; control does not"
  need_programs containerd=containerd ctr=containerd runc=runc nft=nftables conntrack=conntrack ip=iproute2 \
    python3=python3 /usr/lib/cni/bridge=containernetworking-plugins
  [ -x "$B/pause" ] || fail "no pause program in $B: run hack/kube/build-tools.sh"
  runs kubelet || ! (exec 3<>/dev/tcp/127.0.0.1/10248) 2>/dev/null ||
    fail "a node runs on this machine already: one is all it carries: use it, or take it down"
}

node() {
  cd "$R"
  mkdir -p cni kubelet containerd
  touch owns-network
  write_network
  write_containerd_settings
  write_kubelet_settings
  start containerd containerd --config containerd/config.toml
  wait_for containerd ctr -a "$SOCKET" version
  python3 "$HERE/pause_image.py" "$B/pause" "$PAUSE_IMAGE" > pause.tar
  load pause.tar >/dev/null
  start kubelet "$B/kubelet" --config kubelet.yaml --kubeconfig kubeconfig --root-dir "$R/kubelet" \
    --hostname-override node-1 --node-ip "$(node_address)"
  start proxy "$B/kube-proxy" --kubeconfig kubeconfig --hostname-override node-1 --cluster-cidr "$PODS" \
    --proxy-mode nftables
  wait_for kubelet kubectl wait --for=condition=Ready node/node-1 --timeout=1s
}

load() { ctr -a "$SOCKET" -n k8s.io images import "$1"; }

up() {
  need_node
  control 0.0.0.0 --advertise-address "$(node_address)" --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate certs/kubelet-client.crt --kubelet-client-key certs/kubelet-client.key
  node
}

# Ends all containers, and lets containerd clear up after them, which a later containerd could not.
kill_containers() {
  local id
  for _ in $(seq 50); do
    [ -n "$(ctr -a "$SOCKET" -n k8s.io tasks ls -q)" ] || return 0
    for id in $(ctr -a "$SOCKET" -n k8s.io tasks ls -q); do
      ctr -a "$SOCKET" -n k8s.io tasks kill -s 9 "$id" 2>/dev/null || true
    done
    sleep 0.1
  done
}

# Pods' network, which is the machine's: namespaces (mounts), bridge, Service rules, addresses given away.
forget_network() {
  local namespace
  for namespace in /run/netns/cni-*; do
    [ ! -e "$namespace" ] || ip netns delete "${namespace##*/}" || true
  done
  ip link delete "$BRIDGE" 2>/dev/null || true
  nft delete table ip kube-proxy 2>/dev/null || true
  nft delete table ip6 kube-proxy 2>/dev/null || true
  rm -rf "/var/lib/cni/networks/$NETWORK" "$R/owns-network"
}

down() {
  stop kubelet
  if runs containerd; then kill_containers; fi
  local name
  for name in proxy scheduler controller-manager apiserver etcd containerd; do stop $name; done
  if [ -f "$R/owns-network" ]; then forget_network; fi
  awk -v root="$R/" 'index($2, root) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount 2>/dev/null || true
  rm -rf "$R/etcd" "$R/kubelet"
}

# A cluster that somebody else runs: only its kubeconfig is ours.
borrow() {
  need_programs kubectl=kubectl
  mkdir -p "$R"
  (umask 077; kubectl config view --raw --minify --flatten > "$R/kubeconfig")
  KUBECONFIG=$R/kubeconfig kubectl get --raw /readyz >/dev/null || fail "kubectl's current context does not answer"
}

report() { echo "export KUBECONFIG=$R/kubeconfig"; }

case $CLUSTER/${1:-} in
  own/control) control 127.0.0.1 --endpoint-reconciler-type none; report ;;
  own/up) up; report ;;
  own/load) load "${2:?load needs IMAGE.tar}" ;;
  own/down) down ;;
  current/control | current/up) borrow; report ;;
  current/load) fail "push the image to a registry that the cluster pulls from: $2" ;;
  current/down) rm -f "$R/kubeconfig" ;;
  kind/control | kind/up) mkdir -p "$R"; kind create cluster --name tercet --kubeconfig "$R/kubeconfig" --wait 120s; report ;;
  kind/load) kind load image-archive --name tercet "${2:?load needs IMAGE.tar}" ;;
  kind/down) kind delete cluster --name tercet --kubeconfig "$R/kubeconfig" ;;
  *) sed -n '2,/^set/{/^#/p}' "$0"; exit 2 ;;
esac
