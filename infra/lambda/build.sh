#!/usr/bin/env bash
# Builds the packages of the three Lambdas from the workspace. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: infra/lambda/build.sh [OPTION…]

Builds wake, sleep and kill as static binaries, and puts each, as `bootstrap`, into a package of its own: DIR/wake.zip,
DIR/sleep.zip, DIR/kill.zip. The same code gives the same bytes, so that nothing is deployed anew without need.

Options
  --arch ARCH      x86_64 or arm64, as LambdaArchitecture (default: this machine's; the other needs its Rust target and linker)
  --out DIR        where the packages go (default: target/packages)
  --binaries DIR   take the binaries from DIR instead of building them

Needs zip and, to build, what the workspace needs. Safe to repeat.
TXT
}

main() {
    local binaries='' name
    arch=$(machine) out=target/packages
    while (($#)); do
        case $1 in
            -h | --help | help)
                usage
                return
                ;;
            --arch) value_of "$@" && arch=$value && shift ;;
            --out) value_of "$@" && out=$(absolute "$value") && shift ;;
            --binaries) value_of "$@" && binaries=$(absolute "$value") && shift ;;
            *) wrong "$1 is no option" ;;
        esac
        shift
    done
    cd "$(dirname "${BASH_SOURCE[0]}")/../.."
    [[ $arch == x86_64 || $arch == arm64 ]] || wrong "--arch takes x86_64 or arm64"
    command -v zip >/dev/null || fail "zip is missing: on Debian and Ubuntu, apt-get install zip"
    if [[ -z $binaries ]]; then
        build_binaries
        binaries=${CARGO_TARGET_DIR:-target}/$(target)/release
    fi
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    context=$(mktemp -d)
    trap 'rm -rf "$context"' EXIT
    for name in wake sleep kill; do package "$name" "$binaries/fluidity-$name"; done
}

machine() {
    case $(uname -m) in
        x86_64) echo x86_64 ;;
        aarch64 | arm64) echo arm64 ;;
        *) echo unknown ;;
    esac
}

target() {
    if [[ $arch == x86_64 ]]; then echo x86_64-unknown-linux-gnu; else echo aarch64-unknown-linux-gnu; fi
}

# Static: this machine's C library may be newer than Lambda's. The target is named, so that the flags reach the binaries
# alone and not the build scripts.
build_binaries() {
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target "$(target)" \
        --package fluidity-wake --package fluidity-sleep --package fluidity-kill
}

package() {
    local name=$1 file=$2
    [[ -f $file ]] || fail "there is no $file"
    install -m 0755 "$file" "$context/bootstrap"
    # A package's bytes hold its files' times.
    touch -d 2020-01-01T00:00:00Z "$context/bootstrap"
    rm -f "$out/$name.zip"
    (cd "$context" && TZ=UTC zip -q -X -9 "$out/$name.zip" bootstrap)
    printf '%s: %d kB\n' "$out/$name.zip" $(($(wc -c <"$out/$name.zip") / 1000))
}

# Relative to where the caller stands, not to the repository.
absolute() {
    if [[ $1 == /* ]]; then echo "$1"; else echo "$PWD/$1"; fi
}

value_of() {
    (($# >= 2)) || wrong "$1 needs a value"
    value=$2
}

fail() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

wrong() {
    printf 'build.sh: %s; see --help\n' "$*" >&2
    exit 2
}

main "$@"
