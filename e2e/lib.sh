#!/usr/bin/env bash
# Shared by the scripts of this folder: where things live, and how a process is
# started, waited for and stopped. Sourced, never run.
# shellcheck disable=SC2034
set -euo pipefail

E2E_ROOT=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
E2E_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/stockpipeline # downloads, kept between runs and shared by all clones
E2E_RUN=${E2E_RUN:-$E2E_ROOT/target/e2e}                # data, logs and process ids of what this clone has up

say() { printf '%s\n' "$*" >&2; }
die() {
  say "e2e: $*"
  exit 1
}

# apt_install PACKAGE...: with one repetition, since a mirror's index may be older than its packages.
apt_install() {
  local as_root=()
  command -v apt-get >/dev/null 2>&1 || die "missing: $* (install them by hand: there is no apt-get here)"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || die "missing: $* (run as root, or install sudo)"
    as_root=(sudo)
  fi
  say "e2e: installing $*"
  "${as_root[@]}" apt-get update -qq >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
    { "${as_root[@]}" apt-get update -qq >&2 &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2; } ||
    die "apt-get could not install $*"
}

# need COMMAND PACKAGE: installs the package where the command is missing.
need() { command -v "$1" >/dev/null 2>&1 || apt_install "$2"; }

# A file of E2E_RUN holds "PID START"; the start time guards against a number that was given to another process.
start_time() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }"
  [ "${fields[0]}" != Z ] && printf '%s\n' "${fields[19]}"
}
running() { # running NAME
  local pid started now
  [ -f "$E2E_RUN/$1.pid" ] || return 1
  read -r pid started <"$E2E_RUN/$1.pid" || return 1
  now=$(start_time "$pid") && [ "$now" = "$started" ]
}

# start NAME COMMAND...: in the background, its output in $E2E_RUN/NAME.log.
start() {
  local name=$1 pid
  shift
  running "$name" && return 0
  mkdir -p "$E2E_RUN"
  setsid "$@" >"$E2E_RUN/$name.log" 2>&1 </dev/null &
  pid=$!
  printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$E2E_RUN/$name.pid"
}

# stop NAME [SIGNAL]: only what start() has started; the signal (TERM), then KILL after 30 s.
stop() {
  local name=$1 pid started tries
  if running "$name"; then
    read -r pid started <"$E2E_RUN/$name.pid"
    kill -s "${2:-TERM}" "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 300; tries++)); do
      running "$name" || break
      sleep 0.1
    done
    ! running "$name" || kill -s KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$E2E_RUN/$name.pid"
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_port NAME PORT SECONDS: until it listens; says the log's end when it does not.
wait_port() {
  local tries
  for ((tries = 0; tries < $3 * 5; tries++)); do
    port_open "$2" && return 0
    running "$1" || break
    sleep 0.2
  done
  die "$1 does not listen on port $2; the last lines of $E2E_RUN/$1.log:
$(tail -n 15 "$E2E_RUN/$1.log")"
}
