#!/usr/bin/env bash
# Installs what the tests need and runs everything that must hold. See --help.
set -euo pipefail

readonly NEXTEST_VERSION=0.9.143
readonly DENY_VERSION=0.20.2
readonly GUARD_VERSION=3.2.1

usage() {
    cat <<'TXT'
Usage: scripts/test.sh [all|quick]

  all     (default) install what is missing, then: format, the infrastructure's lint (templates, shell scripts, images,
          workflows), structure, clippy, licences and bans, build, every test, doctests, docs, sample configurations,
          fuzz targets, benchmark programs, the quickstart once, the demo of scale to zero once, the infrastructure
          in an AWS emulator
  quick   format, clippy and the unit tests; installs nothing

Stops at the first section that fails, and says which in a summary. Safe to run twice.

Debian packages come from tests/packages.txt, Python packages from tests/requirements.txt and
infra/requirements.txt (into a virtual environment), cargo tools by `cargo install --locked`. The last two go to the cache directory, never into the clone.

Environment:
  FLUIDITY_CACHE        the cache directory (default: $HOME/.cache/fluidity)
  FLUIDITY_ALLOW_SKIP   1: a test whose client program is missing says SKIPPED instead of failing
  FLUIDITY_TEST_IMAGES  1: build the container images too and run them (a release build and a Docker engine; ten minutes)
  CI                    true: build outside the clone too, never ask anything
TXT
}

main() {
    case "${1:-all}" in
        all) ;;
        quick) ;;
        -h | --help | help)
            usage
            return
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac

    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    exec </dev/null
    export CARGO_TERM_PROGRESS_WHEN=never
    cache=${FLUIDITY_CACHE:-${HOME:?}/.cache/fluidity}
    if [[ ${CI:-} == true ]]; then
        export CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
        # A property test that fails would note its case beside the source.
        export PROPTEST_DISABLE_FAILURE_PERSISTENCE=true PYTHONDONTWRITEBYTECODE=1
    fi
    mkdir -p "$cache"
    nextest_log=$(mktemp "$cache/nextest.XXXXXX")
    started=$SECONDS
    trap summary EXIT

    if [[ ${1:-all} == quick ]]; then
        section "format" cargo fmt --all --check
        section "clippy" clippy
        section "unit tests" unit_tests
        return
    fi
    PATH=$cache/cargo/bin:$PATH
    section "tools" install_tools
    section "format" cargo fmt --all --check
    section "infrastructure: lint" infrastructure_lint
    section "structure" ./scripts/check-structure.sh
    section "clippy" clippy
    section "licences, bans, sources" licences
    checked_licences=1
    section "build" build
    section "sample configurations" sample_configs
    section "documented keys" ./scripts/check-structure.sh keys
    section "tests" tests
    section "doctests" cargo test --locked --workspace --doc
    section "docs" docs
    section "fuzz targets" fuzz_targets
    section "benchmark programs" benchmark_programs
    section "quickstart" quickstart
    section "demo: scale to zero" demo
    section "infrastructure: tests" infrastructure_tests
}

# Runs one section under a heading, remembers its time, and ends the run when it fails.
section() {
    local name=$1 began=$SECONDS status=0
    shift
    printf '\n==== %s\n' "$name"
    running=$name
    # A subshell behind `set +e`, not `if "$@"`: the latter would switch `set -e` off inside the functions.
    set +e
    (
        set -e
        "$@"
    )
    status=$?
    set -e
    running=
    local took=$((SECONDS - began))
    if ((status != 0)); then
        lines+=("$(printf 'FAIL  %-26s %4d s  (exit code %d)' "$name" "$took" "$status")")
        failed=$name
        exit 1
    fi
    lines+=("$(printf 'ok    %-26s %4d s' "$name" "$took")")
}

# What ran and how it went. The test runner's own summary comes last, unless a later section is what failed.
summary() {
    local status=$?
    printf '\n==== summary\n'
    if ((${#lines[@]})); then printf '%s\n' "${lines[@]}"; fi
    if [[ -n $running ]]; then printf 'CUT   %s\n' "$running"; fi
    if ((status == 0)); then
        printf 'All sections passed in %d s.\n' $((SECONDS - started))
        if [[ -n $checked_licences ]]; then
            echo 'Security advisories were NOT checked (that needs the network): cargo deny check advisories'
        fi
        tests_summary
    elif [[ $failed == tests || $failed == "unit tests" ]]; then
        printf 'FAILED after %d s: %s\n' $((SECONDS - started)) "$failed"
        tests_summary
    else
        tests_summary
        printf 'FAILED after %d s: %s\n' $((SECONDS - started)) "${failed:-cut}"
    fi
    rm -f "$nextest_log"
}

# nextest's own last lines: how many ran, and which failed.
tests_summary() {
    sed 's/\x1b\[[0-9;]*m//g' "$nextest_log" | awk '/^ +Summary \[/ { seen = 1 } seen' | tail -n 60
}

install_tools() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again"
    install_packages
    install_python
    install_cargo_tool cargo-nextest "$NEXTEST_VERSION"
    install_cargo_tool cargo-deny "$DENY_VERSION"
    install_cargo_tool cfn-guard "$GUARD_VERSION"
}

install_packages() {
    local package missing=()
    if ! command -v dpkg-query >/dev/null; then
        echo "Not a Debian system: install by hand what tests/packages.txt names, where it is missing."
        return
    fi
    while read -r package; do
        [[ -z $package || $package == \#* ]] && continue
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done <tests/packages.txt
    if ((${#missing[@]} == 0)); then
        echo "Debian packages: all there"
        return
    fi
    echo "Installing: ${missing[*]}"
    local sudo=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail "run as root, or install: ${missing[*]}"
        sudo=(sudo)
        if [[ ${CI:-} == true ]]; then sudo=(sudo -n); fi
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# One virtual environment, made again when what it should hold has changed.
install_python() {
    local venv=$cache/venv wanted
    wanted=$(sed '/^#/d' tests/requirements.txt infra/requirements.txt | sort -u)
    if [[ -x $venv/bin/python && $(cat "$venv/installed" 2>/dev/null) == "$wanted" ]]; then
        echo "Python packages: all there"
        return
    fi
    rm -rf "$venv"
    python3 -m venv "$venv"
    printf '%s\n' "$wanted" >"$venv/wanted"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$venv/wanted"
    mv "$venv/wanted" "$venv/installed"
}

# install_cargo_tool NAME VERSION: any version of nextest will do, cargo-deny must be the one deny.toml is written for.
install_cargo_tool() {
    local name=$1 version=$2
    if [[ $name == cargo-nextest ]] && command -v "$name" >/dev/null; then
        echo "$name: $(command -v "$name")"
        return
    fi
    if [[ $("$cache/cargo/bin/$name" --version 2>/dev/null) == *"$version"* ]]; then
        echo "$name: $version"
        return
    fi
    echo "Building $name $version (a few minutes, once)"
    CARGO_TARGET_DIR=$cache/tools-target cargo install --quiet --locked --version "$version" --root "$cache/cargo" "$name"
    # Only to save space: what is left would be used again.
    rm -rf "$cache/tools-target" || true
}

clippy() {
    cargo clippy --locked --workspace --all-targets -- -D warnings
}

unit_tests() {
    # The control plane's adapters speak to the AWS emulator, where an earlier run has installed it.
    if [[ -x $cache/venv/bin/ministack ]]; then
        export FLUIDITY_TEST_PYTHON=$cache/venv/bin/python
    else
        export FLUIDITY_ALLOW_SKIP=1
    fi
    if command -v cargo-nextest >/dev/null; then
        cargo nextest run --locked --workspace --exclude fluidity-tests 2>&1 | tee "$nextest_log"
    else
        cargo test --locked --workspace --exclude fluidity-tests
    fi
}

# Everything that the tests start.
build() {
    cargo build --locked --workspace --bins --examples
    cargo build --release --locked --manifest-path tests/netsim/Cargo.toml --target-dir "$(target_dir)/bench"
}

tests() {
    FLUIDITY_NETSIM=$(target_dir)/bench/release/netsim
    export FLUIDITY_NETSIM
    export FLUIDITY_TEST_PYTHON=$cache/venv/bin/python
    cargo nextest run --locked --workspace --profile ci 2>&1 | tee "$nextest_log"
}

# Templates, shell scripts, images, workflows; and that every tool and rule refuses what it is there to refuse.
infrastructure_lint() {
    FLUIDITY_VENV=$cache/venv ./scripts/lint-infra.sh
    FLUIDITY_VENV=$cache/venv ./scripts/lint-infra.sh --self-test
}

# In the AWS emulator, through scripts/deploy.sh.
infrastructure_tests() {
    local images=(--ignore infra/tests/test_images.py)
    if [[ ${FLUIDITY_TEST_IMAGES:-} == 1 ]]; then images=(); fi
    PATH=$cache/venv/bin:$PATH FLUIDITY_VENV=$cache/venv \
        "$cache/venv/bin/python" -m pytest -q -p no:cacheprovider "${images[@]}" infra/tests
    if ((${#images[@]})); then
        echo "SKIPPED: the container images were not built and run. FLUIDITY_TEST_IMAGES=1 does it."
    fi
}

licences() {
    cargo deny --locked check --hide-inclusion-graph licenses bans sources
    echo "NOTE: advisories were NOT checked: that needs the network. Run \`cargo deny check advisories\` where there is one."
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
}

sample_configs() {
    local target file checked=0
    target=$(target_dir)
    for file in docs/samples/*.yaml; do
        case $(basename "$file") in
            agent*) "$target/debug/fluidity" config check --offline -c "$file" ;;
            server*) "$target/debug/fluidity-server" config check --offline -c "$file" ;;
            *) fail "$file: a sample's name starts with agent or server" ;;
        esac
        checked=$((checked + 1))
    done
    echo "$checked sample configurations are good"
}

fuzz_targets() {
    cargo fmt --manifest-path wire/fuzz/Cargo.toml --check
    # Any file stands in for libFuzzer: a check does not link it, and building it would need a C++ compiler.
    CUSTOM_LIBFUZZER_PATH=$PWD/wire/fuzz/Cargo.toml \
        cargo check --locked --manifest-path wire/fuzz/Cargo.toml --target-dir "$(target_dir)/fuzz"
}

# Outside the workspace, each with its own lock file: they must build, and measure nothing here.
benchmark_programs() {
    local program
    for program in bench/loadgen bench/quinnlab netsim; do
        cargo fmt --manifest-path "tests/$program/Cargo.toml" --check
        cargo check --locked --manifest-path "tests/$program/Cargo.toml" --target-dir "$(target_dir)/bench"
    done
    cargo test --release --locked --manifest-path tests/netsim/Cargo.toml --target-dir "$(target_dir)/bench"
    python3 -B -c 'import ast, sys; [ast.parse(open(file).read(), file) for file in sys.argv[1:]]' tests/bench/*.py
    python3 -B -m doctest tests/bench/series.py
}

quickstart() {
    local state
    state=$(mktemp -d)
    # The section has a shell of its own, and this is its last act, whatever becomes of it.
    # shellcheck disable=SC2064 # the directory as it is now
    trap "rm -rf '$state'" EXIT
    FLUIDITY_PROFILE=debug ./scripts/quickstart.sh --once --port 0 --state "$state"
}

# The whole loop with the real functions, servers and agent on an AWS emulator: about three minutes, most of it waiting.
demo() {
    FLUIDITY_BIN_DIR=$(target_dir)/debug ./scripts/demo-scale-to-zero.sh --once
}

target_dir() {
    cargo metadata --locked --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

cache='' nextest_log='' started=0 running='' failed='' checked_licences=''
lines=()
main "$@"
