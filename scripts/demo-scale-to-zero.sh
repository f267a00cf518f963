#!/usr/bin/env bash
# Shows scale to zero, whole and on this machine, with an emulator in the place of AWS. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: scripts/demo-scale-to-zero.sh [--once] [--keep DIR]

Starts an AWS emulator on a free port of 127.0.0.1, deploys the shipped templates into it with scripts/deploy.sh, with
the real wake, sleep and kill functions, and plays ECS for the one service: a process fluidity-server runs while its
desiredCount is 1. Then an agent starts, dormant, and the loop is shown as it happens:

  a request wakes the server and is held until it is answered -> traffic -> nobody wants the tunnel -> the agent goes
  dormant -> the schedule finds the server idle and puts it to sleep -> zero -> the next request wakes it again

About two minutes, with the times shortened: idle means 6 s instead of 15 minutes, metrics come every 10 s, the schedule
looks every minute (the emulator's shortest). No AWS account and no credentials are used. Afterwards the proxy stays up to
be played with, until Ctrl-C, which stops everything in order. Safe to run twice, also at the same time.

  --once       end after the second wake and a kill; the exit code is 0 only if every step was seen
  --keep DIR   keep configurations, keys and logs in DIR, a directory that is new or empty

Needs Python 3.9 with venv; what it needs from PyPI is installed once, into the cache directory.

Environment:
  FLUIDITY_PROFILE   release (default) or debug
  FLUIDITY_BIN_DIR   use the programs of this directory and build nothing
  FLUIDITY_CACHE     the cache directory (default: $HOME/.cache/fluidity)
TXT
}

main() {
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    arguments "$@"
    cd "$root"
    trap 'exit 130' INT TERM HUP
    trap stop_job EXIT
    build
    install_python
    # From here on Python is this process: whoever stops the one stops the other.
    exec "$venv/bin/python" -B scripts/demo/scale_to_zero.py --bin-dir "$bin_dir" "${options[@]}"
}

arguments() {
    profile=${FLUIDITY_PROFILE:-release}
    bin_dir=${FLUIDITY_BIN_DIR:-}
    while (($# > 0)); do
        case $1 in
            --once) options+=(--once) ;;
            --keep=?*) options+=(--keep "$(absolute "${1#*=}")") ;;
            --keep)
                [[ -n ${2:-} ]] || wrong_usage "$1 needs a value"
                options+=(--keep "$(absolute "$2")")
                shift
                ;;
            -h | --help | help)
                usage
                exit 0
                ;;
            *) wrong_usage "unknown argument: $1" ;;
        esac
        shift
    done
    [[ $profile == release || $profile == debug ]] || wrong_usage "FLUIDITY_PROFILE is release or debug, not $profile"
    [[ -z $bin_dir ]] || bin_dir=$(absolute "$bin_dir")
    cache=$(absolute "${FLUIDITY_CACHE:-${HOME:?}/.cache/fluidity}")
}

build() {
    local program
    if [[ -z $bin_dir ]]; then
        command -v cargo >/dev/null ||
            fail "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again"
        say "Building ($profile); the first time takes some minutes"
        local options=()
        if [[ $profile == release ]]; then options=(--release); fi
        run cargo build --locked "${packages[@]}" --bins --example demo_origin ${options[@]+"${options[@]}"} ||
            fail "The build failed; what cargo said is above."
        local target
        target=$(cargo metadata --locked --no-deps --format-version 1 |
            sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
        bin_dir=$target/$profile
    fi
    for program in fluidity fluidity-{server,wake,sleep,kill} examples/demo_origin; do
        [[ -x $bin_dir/$program ]] || fail "$bin_dir/$program is missing"
    done
}

# One virtual environment, made again when what it should hold has changed. It is made beside its place and moved there
# by its name in a link, so that an earlier, broken try and another demo that starts at this moment do no harm.
install_python() {
    local wanted
    command -v python3 >/dev/null || fail "python3 is missing"
    wanted=$(python3 -c 'import sys; print(sys.version)' && cat scripts/demo/requirements.txt)
    venv=$cache/demo-venv-$(cksum <<<"$wanted" | cut -d ' ' -f 1)
    if [[ -e $venv/installed ]]; then return; fi
    say "Installing the AWS emulator and the aws tool into $venv (once)"
    mkdir -p "$cache"
    rm -rf "$venv"
    run python3 -m venv "$venv" || fail "python3 cannot make virtual environments: on Debian and Ubuntu, apt-get install python3-venv"
    run "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r scripts/demo/requirements.txt ||
        fail "The installation failed; what pip said is above."
    : >"$venv/installed"
}

# run COMMAND…: in a process group of its own and in the background, so that a signal is heard at once.
run() {
    local status=0
    set -m
    "$@" </dev/null &
    job=$!
    set +m
    wait "$job" || status=$?
    job=
    return "$status"
}

stop_job() {
    if [[ -z $job ]]; then return; fi
    kill -TERM -- "-$job" 2>/dev/null || true
    wait "$job" 2>/dev/null || true
}

absolute() {
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s\n' "$PWD/$1" ;;
    esac
}

fail() {
    printf '\n%s\n' "$*" >&2
    exit 1
}

wrong_usage() {
    printf '%s\n\n' "$*" >&2
    usage >&2
    exit 2
}

say() {
    printf '== %s\n' "$*"
}

readonly packages=(-p fluidity-agent -p fluidity-server -p fluidity-wake -p fluidity-sleep -p fluidity-kill)
root='' profile='' bin_dir='' cache='' venv='' job=''
options=()
main "$@"
