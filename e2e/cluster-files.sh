#!/usr/bin/env bash
# What the programs of e2e/cluster read: certificates, kubeconfigs and settings. Sourced by it, never run.

# certificate NAME SUBJECT [NAMES]: a key and a certificate of the cluster's CA.
certificate() {
  local file=$PKI/$1
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$file.key" -subj "$2" 2>/dev/null |
    openssl x509 -req -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -days 365 -out "$file.crt" -extfile <(
      printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature,keyEncipherment \
        extendedKeyUsage=serverAuth,clientAuth ${3:+"subjectAltName=$3"}
    ) 2>/dev/null || die "openssl made no certificate $1"
}

# kubeconfig NAME FILE: of whom the certificate NAME names.
kubeconfig() {
  cat >"$2" <<YAML
apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: e2e}}]
clusters: [{name: e2e, cluster: {server: "https://$ADDRESS:6443", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
users: [{name: e2e, user: {client-certificate-data: $(base64 -w0 "$PKI/$1.crt"), client-key-data: $(base64 -w0 "$PKI/$1.key")}}]
YAML
}

credentials() {
  local name service=kubernetes.default
  openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -keyout "$PKI/ca.key" -out "$PKI/ca.crt" \
    -subj /CN=e2e-ca -addext keyUsage=critical,digitalSignature,keyCertSign,cRLSign 2>/dev/null || die "openssl made no CA"
  # RSA, not EC: AWS takes no other kind of a pod's token.
  openssl genrsa -out "$PKI/service-accounts.key" 2048 2>/dev/null || die "openssl made no key"
  certificate apiserver /CN=kube-apiserver \
    "IP:$ADDRESS,IP:$SERVICE_ADDRESS,IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:$service,DNS:$service.svc,DNS:$service.svc.cluster.local"
  certificate apiserver-to-kubelet /O=system:masters/CN=apiserver-to-kubelet
  certificate front-proxy /CN=front-proxy
  certificate admin /O=system:masters/CN=admin
  certificate kubelet "/O=system:nodes/CN=system:node:$NODE" "IP:$ADDRESS,DNS:$NODE"
  for name in kube-controller-manager kube-scheduler kube-proxy dns; do certificate "$name" "/CN=system:$name"; done
  for name in kubelet kube-controller-manager kube-scheduler kube-proxy dns; do kubeconfig "$name" "$PKI/$name.kubeconfig"; done
  kubeconfig admin "$KUBECONFIG_FILE"
}

# snapshotter: overlays where the file system carries them, else whole copies.
snapshotter() {
  local trial=$STATE/overlay
  mkdir -p "$trial"/{lower,upper,work,merged}
  if mount -t overlay overlay -o "lowerdir=$trial/lower,upperdir=$trial/upper,workdir=$trial/work" "$trial/merged" 2>/dev/null; then
    umount "$trial/merged"
    printf overlayfs
  else
    printf native
  fi
  rm -rf "$trial"
}

containerd_settings() {
  cat <<TOML
version = 2
root = "$STATE/containerd"
state = "$STATE/containerd-state"
[grpc]
  address = "$SOCKET"
[plugins."io.containerd.internal.v1.opt"]
  path = "$STATE/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  netns_mounts_under_state_dir = true
  # Where root may not lower a score, as in some sandboxes, runc would fail.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$CNI_PLUGINS"
    conf_dir = "$STATE/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$(snapshotter)"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "$STATE/runc"
TOML
}

network_settings() {
  cat <<JSON
{
  "cniVersion": "0.4.0",
  "name": "$NETWORK",
  "plugins": [{
    "type": "bridge",
    "bridge": "$BRIDGE",
    "isGateway": true,
    "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "dataDir": "$STATE/addresses",
      "ranges": [[{"subnet": "$PODS", "gateway": "$ADDRESS"}]],
      "routes": [{"dst": "$SERVICES"}]
    }
  }]
}
JSON
}

kubelet_settings() {
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ADDRESS
providerID: aws:///$ZONE/i-0e2e0e2e0e2e0e2e0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet.crt
tlsPrivateKeyFile: $PKI/kubelet.key
containerRuntimeEndpoint: unix://$SOCKET
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
podLogsDir: $STATE/pod-logs
volumePluginDir: $STATE/volume-plugins
clusterDNS: [$ADDRESS]
clusterDomain: cluster.local
resolvConf: $STATE/resolv.conf
maxPods: 200
# There is no registry to fetch an image from again, so none is ever removed.
imageGCHighThresholdPercent: 100
# A machine that is short of disk is no reason to evict.
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
nodeStatusUpdateFrequency: 5s
syncFrequency: 10s
YAML
}

proxy_settings() {
  cat <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: $NODE
clusterCIDR: $PODS
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: $PKI/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0}
YAML
}

dns_settings() {
  cat <<TEXT
. {
  bind $ADDRESS
  errors
  loadbalance
  cache 5
  hosts $STATE/hosts {
    fallthrough
  }
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $PKI/dns.kubeconfig
    pods insecure
  }
}
TEXT
}

audit_policy() {
  cat <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: None, users: [system:apiserver, system:kube-controller-manager, system:kube-scheduler, system:kube-proxy, system:dns]}
- {level: None, userGroups: [system:nodes, "system:serviceaccounts:kube-system"]}
- {level: Metadata}
YAML
}

# settings: all of them, as files.
settings() {
  containerd_settings >"$STATE/containerd.toml"
  network_settings >"$STATE/cni/10-e2e.conflist"
  kubelet_settings >"$STATE/kubelet.yaml"
  proxy_settings >"$STATE/proxy.yaml"
  dns_settings >"$STATE/Corefile"
  audit_policy >"$STATE/audit.yaml"
  printf '%s\n' "$ADDRESS host.stockpipeline.test" >"$STATE/hosts"
  printf '%s\n' "nameserver $ADDRESS" >"$STATE/resolv.conf"
}
