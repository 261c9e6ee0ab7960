#!/usr/bin/env bash
# Shared by the scripts of this folder: where things live, and how a process is
# started, waited for and stopped. Sourced, never run.
# shellcheck disable=SC2034
set -euo pipefail

E2E_ROOT=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
E2E_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/stockpipeline # downloads, kept between runs and shared by all clones
E2E_RUN=${E2E_RUN:-$E2E_ROOT/target/e2e}                # data, logs and process ids of what this clone has up
E2E_HOST=${E2E_HOST:-127.0.0.1}                         # where servers listen; the pods' bridge on the stage

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

# python_environment NAME PACKAGE...: a virtual environment with them, once; PYTHON is its interpreter.
python_environment() {
  local folder=$E2E_CACHE/$1
  shift
  PYTHON=$folder/bin/python
  [ -f "$folder/complete" ] && return 0
  mkdir -p "$E2E_CACHE"
  need python3 python3
  # Debian's Python comes without what a virtual environment needs.
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  (
    flock 9
    [ ! -f "$folder/complete" ] || exit 0
    say "e2e: installing $* (once)"
    rm -rf "$folder"
    python3 -m venv "$folder" || die "Python could not make a virtual environment in $folder"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@" >&2 || die "pip could not install $*"
    touch "$folder/complete"
  ) 9>"$folder.lock"
}

# maven_jars FOLDER GROUP:ARTIFACT:VERSION...: they and what they need at run time.
maven_jars() {
  local folder=$1 artifact parts dependencies=
  shift
  for artifact; do
    IFS=: read -ra parts <<<"$artifact"
    dependencies+="<dependency><groupId>${parts[0]}</groupId><artifactId>${parts[1]}</artifactId><version>${parts[2]}</version></dependency>"
  done
  rm -rf "$folder"
  mkdir -p "$folder"
  cat >"$folder/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.stockpipeline.e2e</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>$dependencies</dependencies>
</project>
POM
  mvn -q -B -ntp -f "$folder/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DoutputDirectory="$folder" -DincludeScope=runtime >&2 || die "Maven could not fetch $*"
}

# java_tools: a JDK of version 17 or newer, and Maven.
java_version() { java -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' | head -n1; }
java_tools() {
  { command -v java >/dev/null 2>&1 && [ "$(java_version)" -ge 17 ]; } || apt_install openjdk-17-jre-headless
  command -v javac >/dev/null 2>&1 || apt_install openjdk-17-jdk-headless
  need mvn maven
}

# clock_library: what sets the wall clock of one process, for the loader (clock.c).
clock_library() {
  local library=$E2E_RUN/clock.so source=$E2E_ROOT/e2e/clock.c
  mkdir -p "$E2E_RUN"
  [ "$library" -nt "$source" ] || "${CC:-cc}" -shared -fPIC -O2 -Wall -Wextra -Werror -o "$library" "$source" || die "$source does not compile"
  printf '%s\n' "$library"
}

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

# alone COMMAND...: in a session of its own, without the caller's open files, a lock's among them.
alone() {
  local file
  for file in /proc/self/fd/*; do
    file=${file##*/}
    [ "$file" -le 2 ] || eval "exec $file>&-"
  done
  exec setsid "$@"
}

# start NAME COMMAND...: in the background, its output in $E2E_RUN/NAME.log.
start() {
  local name=$1 pid
  shift
  running "$name" && return 0
  mkdir -p "$E2E_RUN"
  alone "$@" >"$E2E_RUN/$name.log" 2>&1 </dev/null &
  pid=$!
  printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$E2E_RUN/$name.pid"
}

# bare NAME COMMAND...: as start, without the caller's environment (proxies, credentials).
bare() {
  local name=$1
  shift
  start "$name" env -i PATH="$PATH" HOME="$E2E_RUN" "$@"
}

# process NAME: its number.
process() {
  running "$1" || die "$1 does not run"
  cut -d ' ' -f 1 "$E2E_RUN/$1.pid"
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

port_open() { (exec 3<>"/dev/tcp/$E2E_HOST/$1") 2>/dev/null; }

# free_port FIRST STEP COUNT: the first port from FIRST on, in steps, of which COUNT in a row are free.
free_port() {
  local port tries offset
  for ((tries = 0, port = $1; tries < 20; tries++, port += $2)); do
    for ((offset = 0; offset < $3; offset++)); do port_open $((port + offset)) && break; done
    [ "$offset" -lt "$3" ] || {
      printf '%s\n' "$port"
      return
    }
  done
  die "the ports from $1 to $port are taken"
}

# wait_until NAME SECONDS COMMAND...: until it succeeds, while the program runs; says the log's end when it does not.
wait_until() {
  local name=$1 tries limit=$2
  shift 2
  for ((tries = 0; tries < limit * 5; tries++)); do
    "$@" >/dev/null 2>&1 && return 0
    running "$name" || break
    sleep 0.2
  done
  die "$name is not ready; the last lines of $E2E_RUN/$name.log:
$(tail -n 15 "$E2E_RUN/$name.log")"
}

# wait_port NAME PORT SECONDS: until it listens.
wait_port() { wait_until "$1" "$3" port_open "$2"; }
