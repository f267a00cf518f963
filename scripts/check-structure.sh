#!/usr/bin/env bash
# Checks what no compiler checks: who may depend on whom, and the rules of the house. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: scripts/check-structure.sh [rules|keys|write-keys]

  rules   (default) needs no build:
            * agent -> {daemon, trace, wire} <- server; those three do not know each other; the tests know all
            * the Lambdas -> control-plane/core -> trace; fakes are for tests alone
            * one crypto provider (aws-lc-rs); no crate that deny.toml bans, on any platform we build for
            * main.rs at most 60 lines, no file over 500 (a warning from 450), each file says what it is for
            * no vague file names, bare QUIC streams only in wire, no unbounded channels, statuses only in reply.rs
            * every file that the documents link to or name exists
  keys    needs the debug binaries: docs/configuration.md has exactly the keys, defaults and variables that they know
  write-keys
          needs the debug binaries: writes their tables of keys into docs/configuration.md

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
        write-keys)
            write_keys
            return
            ;;
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
    may_depend fluidity-trace ""
    may_depend fluidity-agent "fluidity-daemon fluidity-trace fluidity-wire"
    may_depend fluidity-server "fluidity-daemon fluidity-trace fluidity-wire"
    may_depend fluidity-control-plane "fluidity-fakes fluidity-trace"
    may_depend fluidity-wake "fluidity-control-plane fluidity-fakes"
    may_depend fluidity-sleep "fluidity-control-plane fluidity-fakes"
    may_depend fluidity-kill "fluidity-control-plane fluidity-fakes"
    may_depend fluidity-fakes ""
    may_depend fluidity-tests "fluidity-agent fluidity-daemon fluidity-fakes fluidity-server fluidity-wire"
}

# may_depend CRATE "ALLOWED…": counts every kind of direct dependency, dev-dependencies too.
may_depend() {
    local crate=$1 allowed=" $2 " tree found
    tree=$(cargo tree --locked -p "$crate" --depth 1 --edges normal,build,dev --target all --prefix none --format '{p}')
    while read -r found; do
        [[ $found == "$crate" || $allowed == *" $found "* ]] || violation "$crate must not depend on $found"
    done < <(awk '/^fluidity-/ { print $1 }' <<<"$tree" | sort -u)
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
        if [[ $file == */main.rs && $file != */tests/* ]] && ((lines > 60)); then violation "$file has $lines lines; a main.rs has at most 60"; fi
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

# shellcheck disable=SC2016 # the backquotes are those of Markdown
# Relative links, links to headings, and names in backquotes that are plainly files of the repository.
document_links() {
    local document target file names='`(agent|server|wire|tests|scripts|docs)/[A-Za-z0-9_./-]+[.](rs|sh|md|yaml|toml|txt)`'
    while read -r document; do
        [[ -f $document ]] || continue
        while read -r target; do
            [[ $target =~ ^[a-z]+: ]] && continue
            file=${target%%#*}
            file=${file:+$(dirname "$document")/$file}
            file=${file:-$document}
            if [[ ! -e $file ]]; then
                violation "$document links to $target, which does not exist"
            elif [[ $target == *#* && $file == *.md ]] && ! headings "$file" | grep -qxF -- "${target#*#}"; then
                violation "$document links to $target, but $file has no such heading"
            fi
        done < <(grep -oE '\]\([^) ]+' "$document" | sed 's/^](//' | sort -u)
        while read -r target; do
            [[ -e $target ]] || violation "$document names $target, which does not exist"
        done < <(grep -oE "$names" "$document" | tr -d '`' | sort -u)
    done < <(git ls-files --cached --others --exclude-standard -- '*.md')
}

# shellcheck disable=SC2016 # the backquotes are those of Markdown
# The anchors of a document's headings, as they are on the web: lower case, no punctuation, hyphens for spaces.
headings() {
    sed -n '/^[`]\{3\}/,/^[`]\{3\}/d; s/^##* //p' "$1" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}

# ---- keys

# The tables stand between marks; what is between them is what `PROGRAM config keys` prints, to the letter.
documented_keys() {
    local program printed written
    for program in "${PROGRAMS[@]}"; do
        printed=$(printed_keys "$program")
        written=$(sed -n "/^<!-- keys of $program -->\$/,/^<!-- end of keys -->\$/p" "$KEYS_DOCUMENT" | sed '1d;$d')
        if [[ $printed != "$written" ]]; then
            violation "$KEYS_DOCUMENT does not list the keys of $program as they are: scripts/check-structure.sh write-keys"
            diff <(echo "$written") <(echo "$printed") >&2 || true
        fi
    done
}

write_keys() {
    local program
    for program in "${PROGRAMS[@]}"; do
        grep -qx "<!-- keys of $program -->" "$KEYS_DOCUMENT" || violation "$KEYS_DOCUMENT has no mark for the keys of $program"
        printed_keys "$program" >"$KEYS_DOCUMENT.keys"
        awk -v mark="<!-- keys of $program -->" -v keys="$KEYS_DOCUMENT.keys" '
            $0 == "<!-- end of keys -->" { inside = 0 }
            !inside { print }
            $0 == mark { inside = 1; while ((getline line < keys) > 0) print line }
        ' "$KEYS_DOCUMENT" >"$KEYS_DOCUMENT.new"
        rm "$KEYS_DOCUMENT.keys"
        mv "$KEYS_DOCUMENT.new" "$KEYS_DOCUMENT"
    done
}

printed_keys() {
    local target
    target=$(cargo metadata --locked --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    "$target/debug/$1" config keys
}

readonly KEYS_DOCUMENT=docs/configuration.md
readonly PROGRAMS=(fluidity fluidity-server)
violations=0
main "$@"
