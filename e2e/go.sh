#!/usr/bin/env bash
# What is built of Go modules, once, and kept under E2E_CACHE. Sourced after lib.sh, never run.
# shellcheck disable=SC2034

GO_MINOR=26                 # what helm needs
KUBERNETES_VERSION=v1.34.4  # of k8s.io/kubernetes in go/kubernetes/go.mod
HELM_VERSION=v3.22.0
PAUSE_IMAGE=localhost/stockpipeline-pause:1
PROGRAMS=(etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

go_command() {
  local candidate version
  for candidate in go /usr/local/go/bin/go; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    version=$("$candidate" env GOVERSION | sed -nE 's/^go1\.([0-9]+).*/\1/p')
    [ "${version:-0}" -ge "$GO_MINOR" ] || continue
    printf '%s\n' "$candidate"
    return
  done
  die "missing: Go 1.$GO_MINOR or newer, which builds Kubernetes (install it from go.dev/dl, or the package golang-go where it is that new, and put it on PATH)"
}

# compile_kubernetes GO FOLDER
compile_kubernetes() {
  local go=$1 target=$2 source=$E2E_ROOT/e2e/go version=k8s.io/component-base/version
  export CGO_ENABLED=0
  (cd "$source/kubernetes" && "$go" build -trimpath -buildvcs=false -o "$target/kubernetes" -ldflags "-s -w -X $version.gitVersion=$KUBERNETES_VERSION \
    -X $version.gitMajor=1 -X $version.gitMinor=34 -X $version.gitTreeState=clean" .) &&
    (cd "$source/kubernetes" && "$go" build -trimpath -buildvcs=false -o "$target/pause" -ldflags '-s -w' ./pause) &&
    (cd "$source/dns" && "$go" build -trimpath -buildvcs=false -o "$target/coredns" -ldflags '-s -w' .) &&
    GOBIN=$target "$go" install -trimpath -ldflags "-s -w -X helm.sh/helm/v3/internal/version.version=$HELM_VERSION \
      -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34" "helm.sh/helm/v3/cmd/helm@$HELM_VERSION"
}

# stamp: what the programs are made of, so that a change of it builds them again.
stamp() {
  (
    find "$E2E_ROOT/e2e/go" -type f | sort | xargs cat
    declare -f compile_kubernetes
    printf '%s\n' "$KUBERNETES_VERSION" "$HELM_VERSION"
  ) | sha256sum | cut -c 1-12
}
KUBERNETES=$E2E_CACHE/kubernetes-$(stamp)

# build_kubernetes: Kubernetes, etcd, kubectl, CoreDNS and helm, in $KUBERNETES.
build_kubernetes() {
  local program began=$SECONDS
  [ -f "$KUBERNETES/complete" ] && return 0
  mkdir -p "$E2E_CACHE"
  # Two clones may want the same programs at once.
  (
    flock 9
    [ ! -f "$KUBERNETES/complete" ] || exit 0
    go=$(go_command)
    say "e2e: building Kubernetes $KUBERNETES_VERSION and helm $HELM_VERSION (once, about ten minutes of two cores)"
    rm -rf "$KUBERNETES"
    mkdir -p "$KUBERNETES"
    compile_kubernetes "$go" "$KUBERNETES" >&2 || die "Kubernetes did not build"
    for program in "${PROGRAMS[@]}"; do ln -s kubernetes "$KUBERNETES/$program"; done
    touch "$KUBERNETES/complete"
    say "e2e: built in $((SECONDS - began)) s"
  ) 9>"$E2E_CACHE/kubernetes.lock"
}

# build_go_program NAME MODULE@VERSION: in $E2E_CACHE/NAME-VERSION.
build_go_program() {
  local name=$1 module=$2 folder=$E2E_CACHE/$1-${2##*@}
  [ -x "$folder/$name" ] && return 0
  mkdir -p "$folder"
  (
    flock 9
    [ ! -x "$folder/$name" ] || exit 0
    go=$(go_command)
    say "e2e: building $name ${2##*@} (once, some minutes)"
    CGO_ENABLED=0 GOBIN=$folder "$go" install -trimpath -ldflags '-s -w' "$module" >&2 || die "$name did not build"
  ) 9>"$E2E_CACHE/$name.lock"
}
