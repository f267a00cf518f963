#!/usr/bin/env bash
# Measures Fluidity beside other tunnels, lets it soak, shows how its cost grows. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: scripts/bench.sh [compare|lines|soak|scaling|start|quic|instructions] [--install-only] [--no-install] [options]

  compare   (default) Fluidity and other tunnels, side by side on this machine: throughput, latency, CPU, memory
  lines     the same on twenty kinds of emulated lines: goodput, small requests beside bulk, a share beside TCP, pages;
            needs root
  soak      mixed load for a long time: is memory flat, is every descriptor and session given back?
  scaling   what idle sessions, active sessions and agents cost as their number grows, as pictures
  start     how long a server takes from its exec to its first answer, and an agent to its tunnel
  quic      what QUIC itself does here, without a tunnel: the roof. `quic --help` has its options
  instructions  how many instructions a session and a relayed MiB take, by callgrind: the machine's load is not in it

Installs what is missing, builds Fluidity and the load generator from this clone, and runs. Safe to run again: what is there is
used. Every command has options of its own; `scripts/bench.sh COMMAND --help` lists them all. Those of `compare`:

  --check           start each peer, one request each, stop: on loopback and, as root, across an emulated WAN
  --quick           one short round: to see that it works, not to measure
  --only A,B,C      these peers, in this order (tests/bench/peers.json has them)
  --repeats N       rounds (3)
  --wan [SPEC]      also across an emulated WAN: delay ms, loss %, Mbit/s, queue ms (50,1,200,100); needs root
  --no-lan          not on loopback
  --out DIR         where results go, as JSON and Markdown (default: bench/results in the cache directory)

  --install-only    install and build, and run nothing
  --no-install      install nothing: peers that are missing are left out

Debian packages are installed by apt-get (as root or through sudo) and run as no service; every other peer goes to the cache
directory: wheels from PyPI, of which one program is taken out, and crates that are built. Names and versions are in
tests/bench/peers.json. All traffic stays on loopback or in network namespaces that the run makes and removes.
What docs/performance.md says about figures holds: nothing else may run meanwhile.

Environment:
  FLUIDITY_CACHE     the cache directory (default: $HOME/.cache/fluidity)
  FLUIDITY_BIN_DIR   measure the programs of this directory, and do not build Fluidity
TXT
}

main() {
    local command=compare install=1 run=1 rest=() argument
    case ${1:-} in
        compare | lines | soak | scaling | start | quic | instructions)
            command=$1
            shift
            ;;
        -h | --help | help)
            usage
            return
            ;;
    esac
    for argument; do
        case $argument in
            --install-only) run='' ;;
            --no-install) install='' ;;
            # Before anything is built.
            -h | --help) exec python3 "$(bench_directory)/$(program_of "$command")" --help ;;
            *) rest+=("$argument") ;;
        esac
    done
    # Paths are the caller's.
    export PYTHONDONTWRITEBYTECODE=1 CARGO_TERM_PROGRESS_WHEN=never
    local root programs
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    programs=${FLUIDITY_CACHE:-${HOME:?}/.cache/fluidity}/bench
    mkdir -p "$programs"
    programs=$(cd "$programs" && pwd)
    # Two at once would measure each other.
    exec 9>"$programs/lock"
    flock -n 9 || fail "another scripts/bench.sh is running"

    prepare "$root" "$programs" "$command" "$install"
    if [[ -z $run ]]; then
        say "Everything is there"
        return
    fi
    local common=(--programs "$programs" --fluidity "$fluidity" --commit "$commit")
    # It has the lock from here on, and hears every signal itself.
    exec python3 "$root/tests/bench/$(program_of "$command")" "${common[@]}" ${rest[@]+"${rest[@]}"}
}

bench_directory() {
    cd "$(dirname "${BASH_SOURCE[0]}")/../tests/bench" && pwd
}

program_of() {
    case $1 in
        compare) echo bench.py ;;
        *) echo "$1.py" ;;
    esac
}

# prepare ROOT PROGRAMS COMMAND INSTALL: everything that the command needs; says where Fluidity is, and of which commit.
prepare() {
    local root=$1 programs=$2 command=$3 install=$4
    command -v cargo >/dev/null || fail "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again"
    command -v python3 >/dev/null || fail "python3 is missing"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "python3 is older than 3.10"
    if [[ -n $install && $command != quic && $command != start ]]; then
        say "Peers"
        # The other commands have no peers but need the origin, or valgrind; lines have those of the wheels.
        case $command in
            compare) python3 "$root/tests/bench/install.py" "$programs" ;;
            lines)
                python3 "$root/tests/bench/install.py" "$programs" --only debian
                python3 "$root/tests/bench/install.py" "$programs" --only pypi
                ;;
            *) python3 "$root/tests/bench/install.py" "$programs" --only debian ;;
        esac
    fi
    # It builds what it needs by itself.
    if [[ $command == instructions ]]; then return; fi
    if [[ $command == quic ]]; then
        say "Building quinnlab"
        build "$root/tests/bench/quinnlab" "$programs/build/quinnlab"
    elif [[ $command == lines ]]; then
        say "Building netsim"
        build "$root/tests/netsim" "$programs/build/netsim"
    elif [[ $command != start ]]; then
        say "Building the load generator"
        build "$root/tests/bench/loadgen" "$programs/build/loadgen"
    fi
    fluidity=${FLUIDITY_BIN_DIR:-}
    if [[ -n $fluidity || $command == quic ]]; then
        fluidity=${fluidity:+$(cd "$fluidity" && pwd)}
        return
    fi
    say "Building Fluidity (release); the first time takes some minutes"
    (cd "$root" && cargo build --release --locked -p fluidity-agent -p fluidity-server --bins)
    fluidity=$(cd "$root" && cargo metadata --locked --no-deps --format-version 1 |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/release
    commit=$(git -C "$root" describe --always --dirty --exclude '*' 2>/dev/null) || commit=''
}

# build CRATE TARGET: a program of the harness.
build() {
    cargo build --release --locked --manifest-path "$1/Cargo.toml" --target-dir "$2"
}

say() {
    printf '== %s\n' "$*"
}

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

fluidity='' commit=''
main "$@"
