#!/usr/bin/env bash
# Checks what no compiler checks: who may depend on whom, and the rules of the house. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: scripts/check-structure.sh [rules|keys]

  rules   (default) needs no build:
            * agent -> {daemon, wire} <- server; wire and daemon do not know each other; the tests know all
            * one crypto provider (aws-lc-rs); no crate that deny.toml bans, on any platform we build for
            * main.rs at most 60 lines, no file over 500 (a warning from 450), each file says what it is for
            * no vague file names, bare QUIC streams only in wire, no unbounded channels, statuses only in reply.rs
            * every file that the documents link to or name exists
  keys    needs the debug binaries: docs/configuration.md lists exactly the keys that they know

Prints every violation, then exits 1 if there was one.
TXT
}

main() {
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    case "${1:-rules}" in
        rules)
            dependency_direction
            banned_crates
            file_lengths
            file_heads
            file_names
            house_rules
            document_links
            ;;
        keys) documented_keys ;;
        -h | --help | help)
            usage
            return
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
    if ((violations > 0)); then
        echo "$violations violation(s)" >&2
        exit 1
    fi
    echo "structure: good"
}

violation() {
    echo "VIOLATION: $*" >&2
    violations=$((violations + 1))
}

# ---- crates

dependency_direction() {
    may_depend fluidity-wire ""
    may_depend fluidity-daemon ""
    may_depend fluidity-agent "fluidity-daemon fluidity-wire"
    may_depend fluidity-server "fluidity-daemon fluidity-wire"
    may_depend fluidity-tests "fluidity-agent fluidity-daemon fluidity-server fluidity-wire"
}

# may_depend CRATE "ALLOWED…": counts every kind of direct dependency, dev-dependencies too.
may_depend() {
    local crate=$1 allowed=" $2 " tree found
    tree=$(cargo tree --locked -p "$crate" --depth 1 --edges normal,build,dev --target all --prefix none --format '{p}')
    for found in $(awk '{ print $1 }' <<<"$tree" | grep '^fluidity-' | sort -u); do
        [[ $found == "$crate" || $allowed == *" $found "* ]] || violation "$crate must not depend on $found"
    done
}

# Asks per platform: quinn-proto names ring for wasm32, which is not one of ours (deny.toml has the same list).
banned_crates() {
    local targets tree banned
    targets=$(sed -n '/^targets = \[/,/^\]/s/^ *"\(.*\)",$/--target \1/p' deny.toml)
    [[ -n $targets ]] || violation "deny.toml names no targets"
    # shellcheck disable=SC2086 # a list of options
    tree=$(cargo tree --locked --workspace --all-features --edges normal,build,dev $targets --prefix none --format '{p}' |
        awk '{ print $1 }' | sort -u)
    for banned in ring openssl openssl-sys native-tls boring boring-sys mbedtls wolfssl rustls-rustcrypto \
        rustls-graviola serde_yml aws-sdk-ec2; do
        if grep -qx "$banned" <<<"$tree"; then violation "$banned is in the tree: cargo tree -i $banned"; fi
    done
    grep -qx aws-lc-rs <<<"$tree" || violation "aws-lc-rs is not in the tree"
}

# ---- files

rust_files() {
    git ls-files --cached --others --exclude-standard -- '*.rs' | while read -r file; do
        if [[ -f $file ]]; then echo "$file"; fi
    done
}

file_lengths() {
    local file lines
    while read -r file; do
        lines=$(wc -l <"$file")
        if [[ $file == */main.rs ]] && ((lines > 60)); then violation "$file has $lines lines; a main.rs has at most 60"; fi
        if ((lines > 500)); then
            violation "$file has $lines lines: more than one noun (at most 500, better 400)"
        elif ((lines > 450)); then
            echo "warning: $file has $lines lines; is it still one noun?"
        fi
    done < <(rust_files)
}

file_heads() {
    local file
    while read -r file; do
        [[ $(head -n 1 "$file") == '//!'* ]] || violation "$file does not begin with //! and what it is for"
    done < <(rust_files)
}

file_names() {
    local file
    while read -r file; do
        case "/${file%.rs}/" in
            */utils/* | */util/* | */helpers/* | */helper/* | */common/* | */misc/* | */data/* | *manager*)
                violation "$file: the name says nothing; which noun is it?"
                ;;
        esac
    done < <(rust_files)
}

house_rules() {
    # Dropping a bare quinn stream finishes it: a cut would look like a clean end. wire's guards reset instead.
    forbid "a bare QUIC stream outside wire" \
        '\.(open_bi|open_uni|accept_bi|accept_uni)\(|quinn::(SendStream|RecvStream)' '^(agent|server)/src/'
    forbid "an unbounded channel" 'unbounded_channel|mpsc::unbounded' '/src/'
    forbid "an error turned into a status outside inbound/reply.rs" \
        'StatusCode::(BAD_GATEWAY|GATEWAY_TIMEOUT|SERVICE_UNAVAILABLE|FORBIDDEN|BAD_REQUEST|PROXY_AUTHENTICATION_REQUIRED)' \
        '^agent/src/inbound' '(^agent/src/inbound/reply|/tests?)'
}

# forbid WHAT PATTERN WHERE [EXCEPT]: no line outside comments may match PATTERN in files whose path matches WHERE.
# Test modules (a file named tests.rs or in a tests directory) are free.
forbid() {
    local what=$1 pattern=$2 where=$3 except=${4:-/tests?[./]} file hit
    while read -r file; do
        [[ $file =~ $where && ! $file =~ $except && ! $file =~ /tests?[./] && $file != tests/* ]] || continue
        while read -r hit; do
            violation "$what: $file:$hit"
        done < <(grep -nE "$pattern" "$file" | grep -vE '^[0-9]+: *//' || true)
    done < <(rust_files)
}

# ---- documents

# Relative links, and names in backquotes that are plainly files of the repository.
document_links() {
    local document target
    while read -r document; do
        while read -r target; do
            [[ -e $(dirname "$document")/$target ]] || violation "$document links to $target, which does not exist"
        done < <(grep -oE '\]\([^)#: ]+' "$document" | sed 's/^](//' | sort -u)
        while read -r target; do
            [[ -e $target ]] || violation "$document names $target, which does not exist"
        done < <(grep -oE '`(agent|server|wire|tests|scripts|docs)/[A-Za-z0-9_./-]+\.(rs|sh|md|yaml|toml|txt)`' "$document" |
            tr -d '`' | sort -u)
    done < <(git ls-files --cached --others --exclude-standard -- '*.md')
}

documented_keys() {
    violation "not written yet"
}

violations=0
main "$@"
