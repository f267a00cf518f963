#!/usr/bin/env bash
# Builds Fluidity, runs a whole tunnel on this machine and sends the first request through it. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: scripts/quickstart.sh [--port N] [--state DIR] [--once]

Builds the two programs, makes a private CA with an identity for each, starts a demo origin, fluidity-server and
fluidity on 127.0.0.1, sends one request through the tunnel, says how to use the proxy, and serves until Ctrl-C.
Ctrl-C stops everything in order; a second one does not wait for running sessions. No internet is needed once the
dependencies are there. Safe to run again: what is there is used.

  --port N      the proxy's port (default 8080, or any free one should 8080 be taken); 0 takes any
  --state DIR   where the CA, the configurations and the logs are (default: .fluidity in the repository)
  --once        stop after the first request

Environment:
  FLUIDITY_STATE     as --state
  FLUIDITY_PROFILE   release (default) or debug
  FLUIDITY_BIN_DIR   use the programs of this directory and build nothing

Other FLUIDITY_… variables do not reach the daemons.
TXT
}

main() {
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    arguments "$@"
    cd "$root"
    trap interrupted INT TERM HUP PIPE
    trap cleanup EXIT

    build
    # Keys and logs are nobody else's. After the build: cargo's files keep the usual modes.
    umask 077
    claim_state
    identities
    say "Starting the demo origin, fluidity-server and fluidity"
    start_origin
    start_server
    start_agent
    first_request
    if [[ -n $once ]]; then return; fi
    how_to_use
    up=1
    serve
}

arguments() {
    state=${FLUIDITY_STATE:-$root/.fluidity}
    profile=${FLUIDITY_PROFILE:-release}
    bin_dir=${FLUIDITY_BIN_DIR:-}
    while (($# > 0)); do
        case $1 in
            --port=* | --state=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
            --port | --state)
                (($# > 1)) || wrong_usage "$1 needs a value"
                if [[ $1 == --port ]]; then port=$2; else state=$2; fi
                shift 2
                ;;
            --once)
                once=1
                shift
                ;;
            -h | --help | help)
                usage
                exit 0
                ;;
            *) wrong_usage "unknown argument: $1" ;;
        esac
    done
    if ! [[ $port =~ ^[0-9]{0,5}$ ]] || ((10#${port:-0} > 65535)); then
        wrong_usage "--port: $port is no port from 0 to 65535"
    fi
    [[ $profile == release || $profile == debug ]] || wrong_usage "FLUIDITY_PROFILE is release or debug, not $profile"
    [[ -n $state ]] || wrong_usage "--state: the directory has no name"
    # Commands below run from the repository.
    [[ $state == /* ]] || state=$PWD/$state
    [[ -z $bin_dir || $bin_dir == /* ]] || bin_dir=$PWD/$bin_dir
    # A variable that is meant for another agent or server must not steer these.
    local name
    for name in ${!FLUIDITY_@}; do unset "$name"; done
}

# ---- the programs

build() {
    if [[ -n $bin_dir ]]; then
        demo_origin=$bin_dir/examples/demo_origin
    else
        command -v cargo >/dev/null ||
            fail "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again"
        [[ -n ${CC:-} ]] || command -v cc >/dev/null || command -v clang >/dev/null || command -v gcc >/dev/null ||
            fail "a C compiler is missing (the cryptography needs one): on Debian and Ubuntu, apt-get install gcc libc6-dev"
        say "Building ($profile); the first time takes some minutes"
        local options=()
        if [[ $profile == release ]]; then options=(--release); fi
        set -m
        # A group of its own: it can be stopped as a whole.
        cargo build --locked -p fluidity-agent -p fluidity-server --bins --example demo_origin \
            ${options[@]+"${options[@]}"} </dev/null &
        builder=$!
        set +m
        wait "$builder" || fail "The build failed; what cargo said is above."
        builder=
        local target
        target=$(cargo metadata --locked --no-deps --format-version 1 |
            sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
        bin_dir=$target/$profile
        demo_origin=$bin_dir/examples/demo_origin
    fi
    local program
    for program in "$bin_dir/fluidity" "$bin_dir/fluidity-server" "$demo_origin"; do
        [[ -x $program ]] || fail "$program is missing"
    done
}

# ---- the state directory

claim_state() {
    mkdir -p "$state" || fail "Cannot make the state directory $state. Choose another one: --state DIR"
    [[ -d $state && -w $state ]] || fail "Cannot write to the state directory $state. Choose another one: --state DIR"
    state=$(cd "$state" && pwd)
    running=$state/running
    local owner='' left=() pid
    if [[ -e $running ]]; then
        read -r owner <"$running" || true
        if [[ $(command_of "${owner:-none}") == *quickstart* ]]; then
            running=
            fail "A quickstart runs from $state already (process $owner). Stop it, or choose another directory: --state DIR"
        fi
        # That one was killed, and could not stop its daemons.
        while read -r pid; do
            if [[ $(command_of "${pid:-none}") == *"$state/"* ]]; then left+=("$pid"); fi
        done <"$running"
        if ((${#left[@]})); then
            say "Stopping what an earlier run left behind"
            for pid in "${left[@]}"; do stop "process $pid" "$pid"; done
        fi
        rm -f "$running"
    fi
    (
        set -o noclobber
        echo "$$" >"$running"
    ) || fail "Cannot write $running; is another quickstart just starting?"
    rm -f "$state"/*.log "$state"/*-ports.json "$state/origin.address"
}

# The command line of a process; nothing where there is none.
command_of() {
    if [[ -r /proc/$1/cmdline ]]; then
        tr '\0' ' ' <"/proc/$1/cmdline"
    elif [[ ! -d /proc/self ]]; then
        ps -p "$1" -o command= 2>/dev/null || true
    fi
}

identities() {
    local pki=$state/pki
    if [[ ! -e $pki/ca.pem && ! -e $pki/ca.key ]]; then
        say "Making a private CA in $pki"
        pki init
    else
        say "The private CA is $pki"
    fi
    identity server fluidity-server
    identity agent quickstart
    local shown
    shown=$("$bin_dir/fluidity" pki show --dir "$pki") || fail "$shown"
    if [[ $shown == *'[EXPIRED]'* || $shown == *'[EXPIRES SOON]'* || $shown == *'[OF ANOTHER CA]'* ]]; then
        say "Renewing its certificates"
        pki renew
    fi
}

# identity ROLE NAME: issued once. A pair of which one file is missing is of no use, and made anew.
identity() {
    local stem=$state/pki/$1-$2
    if [[ -e $stem.pem && -e $stem.key ]]; then return; fi
    if [[ -e $stem.pem || -e $stem.key ]]; then
        pki issue "$1" "$2" --force
    else
        pki issue "$1" "$2"
    fi
}

pki() {
    "$bin_dir/fluidity" pki "$@" --dir "$state/pki" >>"$state/pki.log" 2>&1 ||
        fail_with_log pki "fluidity pki $1 failed. If nothing of it is needed any more, remove $state/pki"
}

# ---- the daemons

start_origin() {
    start origin "$demo_origin" serve 127.0.0.1:0 "$state/origin.address"
    origin=$job
    await origin "$origin" "$state/origin.address"
    origin_address=$(<"$state/origin.address")
}

start_server() {
    cat >"$state/server.yaml" <<YAML
# Written by scripts/quickstart.sh at each start. docs/samples/server.yaml has every key.
listen: 127.0.0.1:0
admin: 127.0.0.1:0
identity:
  certificate: pki/server-fluidity-server.pem
  key: pki/server-fluidity-server.key
  ca: pki/ca.pem
policy:
  allow:
    # Private addresses are closed but for the demo origin.
    - { cidr: 127.0.0.1/32, ports: [${origin_address##*:}] }
drain-grace: 3s
YAML
    start server "$bin_dir/fluidity-server" run -c "$state/server.yaml" --ports-file "$state/server-ports.json"
    server=$job
    await server "$server" "$state/server-ports.json"
}

start_agent() {
    cat >"$state/agent.yaml" <<YAML
# Written by scripts/quickstart.sh at each start. docs/samples/agent.yaml has every key.
listen: 127.0.0.1:${port:-$DEFAULT_PORT}
admin: 127.0.0.1:0
server: { address: "$(port_of server quic)" }
identity:
  certificate: pki/agent-quickstart.pem
  key: pki/agent-quickstart.key
  ca: pki/ca.pem
drain-grace: 3s
YAML
    start agent "$bin_dir/fluidity" run -c "$state/agent.yaml" --ports-file "$state/agent-ports.json"
    agent=$job
    if [[ -z $port ]] && ! await_or_end "$agent" "$state/agent-ports.json" && port_is_taken; then
        say "Port $DEFAULT_PORT is taken by another program: taking a free one (--port chooses)"
        port=0
        start_agent
        return
    fi
    await agent "$agent" "$state/agent-ports.json"
    proxy=$(port_of agent proxy)
}

port_is_taken() {
    grep -q '(listen)' "$state/agent.log"
}

# start NAME COMMAND…: in a process group of its own, so that the terminal's Ctrl-C is this script's alone.
start() {
    local log=$state/$1.log
    shift
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    job=$!
    set +m
    echo "$job" >>"$running"
}

# await NAME PID FILE: until the job has written the file.
await() {
    if await_or_end "$2" "$3"; then return; fi
    if alive "$2"; then fail_with_log "$1" "The $1 did not start within 20 s."; fi
    if [[ $1 == agent ]] && port_is_taken; then
        fail_with_log agent "The proxy cannot listen on port ${port:-$DEFAULT_PORT}. Choose another one: --port N (0 takes any)"
    fi
    died "$1" "$2"
}

await_or_end() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        if [[ -s $2 ]]; then return 0; fi
        if ! alive "$1"; then return 1; fi
        sleep 0.1
    done
    return 1
}

# port_of NAME KEY: an address from a ports file.
port_of() {
    sed -n 's/.*"'"$2"'":"\([^"]*\)".*/\1/p' "$state/$1-ports.json"
}

alive() {
    kill -0 "$1" 2>/dev/null
}

# ---- using it

first_request() {
    say "The first request, through the tunnel to the demo origin"
    local url=http://$origin_address/ body='' failed=''
    if command -v curl >/dev/null; then
        # Neither a ~/.curlrc nor a no_proxy may have a say.
        body=$(curl -q --silent --show-error --max-time 20 --noproxy '' --proxy "http://$proxy" "$url" 2>&1) || failed=1
    else
        body=$("$demo_origin" get "$url" "$proxy" 2>&1) || failed=1
    fi
    if [[ -n $failed || $body != "Hello from the demo origin."* ]]; then
        fail_with_log agent "The first request failed: ${body:-no answer}"
    fi
    printf '    %s\n' "${body//$'\n'/$'\n    '}"
}

how_to_use() {
    local status
    printf -v status '%q status --admin %q' "$bin_dir/fluidity" "$(port_of agent admin)"
    cat <<TXT

The tunnel is up. The proxy is http://$proxy, for http and https alike:

    curl --proxy http://$proxy https://example.com/

For what reads the usual variables (git, pip, curl, wget and many more), in one shell:

    export http_proxy=http://$proxy https_proxy=http://$proxy
    export HTTP_PROXY=\$http_proxy HTTPS_PROXY=\$https_proxy

For a browser, with a profile of its own:

    chromium --user-data-dir="\$HOME/.fluidity-browser" --proxy-server=http://$proxy

Without internet, the demo origin counts to ten: curl --noproxy '' --proxy http://$proxy http://$origin_address/clock

How it stands:  $status
Logs:           $state/agent.log, $state/server.log

The server runs on this machine too: sites see this machine's own address. Ctrl-C stops everything.
TXT
}

# Until a signal comes, or a daemon goes.
serve() {
    while :; do
        if ! alive "$server"; then died server "$server"; fi
        if ! alive "$agent"; then died agent "$agent"; fi
        if ! alive "$origin"; then died origin "$origin"; fi
        # In the background, so that a signal is heard at once.
        sleep 1 &
        nap=$!
        # Not quiet, bash would tell of a daemon that was killed in words of its own.
        wait "$nap" 2>/dev/null
    done
}

# ---- the end

interrupted() {
    # Stopping is how it is meant to end; being stopped before it served is not.
    if [[ -n $up ]]; then exit 0; else exit 130; fi
}

# Whatever the reason: every process that was started is stopped, the agent first, so that no session is cut by us.
cleanup() {
    local status=$?
    trap - EXIT
    trap hurry INT TERM HUP
    # Nobody may read what is said from here on.
    trap '' PIPE
    set +e
    if [[ -n $builder ]]; then
        kill -TERM -- "-$builder" 2>/dev/null
        wait "$builder"
    fi
    if [[ -n $nap ]]; then kill "$nap" 2>/dev/null; fi
    if [[ -n $agent$server$origin ]]; then
        echo
        say "Stopping"
        stop agent "$agent"
        stop server "$server"
        stop "demo origin" "$origin"
    fi
    if [[ -n $running ]]; then rm -f "$running"; fi
    if [[ -n $stuck ]]; then exit 1; fi
    exit "$status"
}

# A second signal: the daemons stop at once.
hurry() {
    local pid
    for pid in $agent $server $origin; do kill -TERM "$pid" 2>/dev/null; done
}

# stop NAME PID: in order, or in the end by force.
stop() {
    local tries
    [[ -n $2 ]] && alive "$2" || return 0
    kill -TERM "$2" 2>/dev/null || true
    for ((tries = 0; tries < 100; tries++)); do
        alive "$2" || return 0
        sleep 0.1
    done
    say "The $1 does not stop: killing it"
    kill -KILL "$2" 2>/dev/null || true
    stuck=1
}

died() {
    local status=0
    wait "$2" 2>/dev/null || status=$?
    fail_with_log "$1" "The $1 has ended by itself (exit code $status)."
}

fail_with_log() {
    printf '\n%s\n' "$2" >&2
    if [[ -s $state/$1.log ]]; then
        printf 'The last lines of %s:\n' "$state/$1.log" >&2
        tail -n 15 "$state/$1.log" | sed 's/^/    /' >&2
    fi
    exit 1
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

readonly DEFAULT_PORT=8080
root='' state='' profile='' bin_dir='' port='' once=''
demo_origin='' running='' origin_address='' proxy='' job=''
builder='' origin='' server='' agent='' nap=''
up='' stuck=''
main "$@"
