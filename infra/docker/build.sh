#!/usr/bin/env bash
# Builds the images of server and agent from the workspace. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: infra/docker/build.sh [server|agent|all] [OPTION…]

Builds static binaries and puts each into an image of its own, FROM scratch: fluidity-server:local and
fluidity-agent:local. Pulls nothing. Fails if an image is larger than 12 MB.

Options
  --arch ARCH      amd64 or arm64 (default: this machine's; the other needs its Rust target and linker)
  --tag TAG        tag of the images (default: local)
  --binaries DIR   take the binaries from DIR instead of building them
  --ca-bundle FILE the public CAs (default: /etc/ssl/certs/ca-certificates.crt)
  --max-mb N       the limit for each image (default: 12)
  --save DIR       also write each image to DIR/fluidity-NAME-ARCH.tar.gz

Needs a Docker engine and, to build, what the workspace needs. Safe to repeat.
TXT
}

main() {
    cd "$(dirname "${BASH_SOURCE[0]}")/../.."
    local names=(server agent) binaries=''
    arch=$(machine) tag=local ca_bundle=/etc/ssl/certs/ca-certificates.crt max_mb=12 save=''
    while (($#)); do
        case $1 in
            -h | --help | help)
                usage
                return
                ;;
            server | agent) names=("$1") ;;
            all) ;;
            --arch) value_of "$@" && arch=$value && shift ;;
            --tag) value_of "$@" && tag=$value && shift ;;
            --binaries) value_of "$@" && binaries=$value && shift ;;
            --ca-bundle) value_of "$@" && ca_bundle=$value && shift ;;
            --max-mb) value_of "$@" && max_mb=$value && shift ;;
            --save) value_of "$@" && save=$value && shift ;;
            *) wrong "$1 is neither an image nor an option" ;;
        esac
        shift
    done
    [[ $arch == amd64 || $arch == arm64 ]] || wrong "--arch takes amd64 or arm64"
    [[ -f $ca_bundle ]] || fail "there is no $ca_bundle: install ca-certificates, or give --ca-bundle"
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || fail "no Docker engine answers"
    if [[ -z $binaries ]]; then
        build_binaries "${names[@]}"
        binaries=$(target_dir)/$(target)/release
    fi
    context=$(mktemp -d)
    trap 'rm -rf "$context"' EXIT
    local name
    for name in "${names[@]}"; do build_image "$name" "$binaries/$(binary "$name")"; done
}

machine() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64 | arm64) echo arm64 ;;
        *) echo unknown ;;
    esac
}

target() {
    if [[ $arch == amd64 ]]; then echo x86_64-unknown-linux-gnu; else echo aarch64-unknown-linux-gnu; fi
}

target_dir() {
    echo "${CARGO_TARGET_DIR:-target}"
}

binary() {
    if [[ $1 == server ]]; then echo fluidity-server; else echo fluidity; fi
}

# The target is named, so that the flags reach the binaries alone and not the build scripts.
build_binaries() {
    local name packages=() flags="-C target-feature=+crt-static"
    for name in "$@"; do packages+=(--package "fluidity-$name"); done
    # A tenth smaller: relocations packed, equal functions once. Rust links with lld, which knows both, on this target alone.
    if [[ $arch == amd64 ]]; then flags+=" -C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,--icf=all"; fi
    RUSTFLAGS=$flags cargo build --locked --release --target "$(target)" "${packages[@]}"
}

build_image() {
    local name=$1 file=$2 image=fluidity-$1:$tag bytes
    [[ -f $file ]] || fail "there is no $file"
    # A dynamic binary would build well and never start.
    if file -L "$file" 2>/dev/null | grep -q 'dynamically linked'; then fail "$file is not static"; fi
    rm -rf "${context:?}"/*
    install -m 0755 "$file" "$context/$(binary "$name")"
    # The linker leaves two megabytes of the C library's symbols.
    if [[ $arch == "$(machine)" ]]; then strip "$context/$(binary "$name")"; fi
    chmod 0555 "$context/$(binary "$name")"
    install -m 0444 "$ca_bundle" "$context/ca-certificates.crt"
    docker build --quiet --platform "linux/$arch" --tag "$image" --file "infra/docker/$name.Dockerfile" "$context" >/dev/null
    bytes=$(docker image inspect --format '{{.Size}}' "$image")
    printf '%s: %d.%d MB\n' "$image" $((bytes / 1000000)) $((bytes / 100000 % 10))
    ((bytes <= max_mb * 1000000)) || fail "$image is larger than $max_mb MB"
    if [[ -n $save ]]; then
        mkdir -p "$save"
        docker save "$image" | gzip -9 >"$save/fluidity-$name-$arch.tar.gz"
    fi
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
