#!/usr/bin/env bash
# Checks everything that ships Fluidity: templates, scripts, Dockerfiles, workflows. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: scripts/lint-infra.sh [TOOL…] [--self-test]

Runs cfn-lint and cfn-guard over the templates (rules in infra/guard/), shellcheck over every shell script, hadolint over
the Dockerfiles, actionlint and zizmor over the workflows. All of it offline. With the name of a tool, only that one.

  --self-test   lint nothing: show that each tool, and each rule of infra/guard/, refuses the sample in infra/tests/bad/
                that was made for it

Prints what is wrong and exits 1 if something was.

Environment
  FLUIDITY_VENV   a Python environment with infra/requirements.txt (default: none; the tools are then taken from PATH).
                  cfn-guard is a Rust program: cargo install --locked --version 3.2.1 cfn-guard
TXT
}

main() {
    local tools=() self_test=false tool failed=()
    while (($#)); do
        case $1 in
            -h | --help | help)
                usage
                return
                ;;
            --self-test) self_test=true ;;
            cfn-lint | cfn-guard | shellcheck | hadolint | actionlint | zizmor) tools+=("$1") ;;
            *)
                usage >&2
                exit 2
                ;;
        esac
        shift
    done
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    PATH=${FLUIDITY_VENV:+$FLUIDITY_VENV/bin:}${FLUIDITY_CACHE:-$HOME/.cache/fluidity}/cargo/bin:$PATH
    if ((${#tools[@]} == 0)); then tools=(cfn-lint cfn-guard shellcheck hadolint actionlint zizmor); fi
    for tool in "${tools[@]}"; do
        command -v "$tool" >/dev/null || fail "$tool is missing; see --help"
    done
    for tool in "${tools[@]}"; do
        if [[ $self_test == true ]]; then
            refuse "$tool" || failed+=("$tool")
        else
            lint "$tool" || failed+=("$tool")
        fi
    done
    ((${#failed[@]} == 0)) || fail "not passed: ${failed[*]}"
}

# lint TOOL: over everything that is ours.
lint() {
    local files=()
    case $1 in
        cfn-lint | cfn-guard) mapfile -t files < <(tracked 'infra/cloudformation/*.yaml') ;;
        shellcheck) mapfile -t files < <(tracked 'scripts/*.sh' 'infra/*.sh' 'infra/**/*.sh' .ci/run) ;;
        hadolint) mapfile -t files < <(tracked 'infra/docker/*Dockerfile') ;;
        actionlint | zizmor) mapfile -t files < <(tracked '.github/workflows/*.yml') ;;
    esac
    ((${#files[@]})) || fail "nothing to check for $1"
    if check "$1" "${files[@]}"; then
        echo "ok    $1: ${#files[@]} files"
    else
        echo "FAIL  $1"
        return 1
    fi
}

# check TOOL FILE…
check() {
    local tool=$1
    shift
    case $tool in
        cfn-lint) cfn-lint --regions us-east-1 eu-west-1 -- "$@" ;;
        cfn-guard) guard "$@" ;;
        shellcheck) shellcheck "$@" ;;
        hadolint) hadolint "$@" ;;
        actionlint) actionlint -no-color "$@" ;;
        zizmor) zizmor --offline --no-progress --quiet --persona auditor "$@" ;;
    esac
}

guard() {
    local options=() file
    for file in "$@"; do options+=(--data "$file"); done
    cfn-guard validate --rules infra/guard "${options[@]}" --show-summary fail
}

# refuse TOOL: its sample has to be refused, for the reason that it was made for.
refuse() {
    local sample expected output bad=0
    if [[ $1 == cfn-guard ]]; then
        refuse_by_rule
        return
    fi
    for sample in infra/tests/bad/"$1"/*; do
        # Its first line says what has to be found.
        expected=$(sed -n '1s/^# refused: //p' "$sample")
        [[ -n $expected ]] || fail "$sample does not say what is wrong with it"
        if output=$(check "$1" "$sample" 2>&1); then
            echo "FAIL  $1 finds nothing wrong with $sample"
            bad=1
        elif [[ $output != *"$expected"* ]]; then
            printf 'FAIL  %s refuses %s, but not for %s:\n%s\n' "$1" "$sample" "$expected" "$output"
            bad=1
        else
            echo "ok    $1 refuses $sample: $expected"
        fi
    done
    return "$bad"
}

# Each rule has a sample of its name, and where one is not enough more, NAME.….yaml. It and no other refuses them.
refuse_by_rule() {
    local rules rule sample refused bad=0
    rules=$(sed -n 's/^rule \([a-z_]*\) .*/\1/p' infra/guard/*.guard)
    for rule in $rules; do
        if [[ ! -f infra/tests/bad/cfn-guard/$rule.yaml ]]; then
            echo "FAIL  there is no infra/tests/bad/cfn-guard/$rule.yaml"
            bad=1
            continue
        fi
        for sample in infra/tests/bad/cfn-guard/"$rule".{yaml,*.yaml}; do
            if [[ ! -f $sample ]]; then continue; fi
            refused=$(guard "$sample" 2>&1 | sed -n 's/^[a-z]*\.guard\/\([a-z_]*\) *FAIL$/\1/p' | sort -u | tr '\n' ' ')
            if [[ $refused == "$rule " ]]; then
                echo "ok    cfn-guard refuses $sample"
            else
                echo "FAIL  $sample is refused by: ${refused:-no rule}"
                bad=1
            fi
        done
    done
    return "$bad"
}

# What git knows or will know; never the samples that are bad on purpose.
tracked() {
    git ls-files --cached --others --exclude-standard -- "$@" | sort -u | grep -v '^infra/tests/bad/' | while read -r file; do
        if [[ -f $file ]]; then echo "$file"; fi
    done
}

fail() {
    printf 'lint-infra.sh: %s\n' "$*" >&2
    exit 1
}

main "$@"
