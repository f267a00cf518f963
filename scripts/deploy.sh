#!/usr/bin/env bash
# Deploys Fluidity to AWS from the templates and parameter files in infra/. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: scripts/deploy.sh COMMAND ENVIRONMENT [OPTION…]

An environment is a file in infra/params/: dev, staging, prod, team, or your own copy of one. `account` is what an AWS
account and region has once, and comes first.

Commands
  plan       show what a deployment would change and what that costs at rest; changes nothing
  deploy     bring every stack of the environment up to date; safe to repeat, and never wakes or stops a server
  status     show the stacks, whether the server is awake, and where the API is
  drift      show what was changed by hand since; exit code 3 if something was
  agent-env  print the variables that agents need, the API key among them
  destroy    remove everything of the environment, its identities in AWS too

Options
  --only PART[,PART]     these stacks only: account encryption network server control-plane observability fleet pipeline
  --except PART[,PART]   all but these
  --set [PART.]KEY=VALUE a parameter, over what the file says; may be repeated
  --image-tag TAG        the same as --set ImageTag=TAG; stays until another is given
  --lambdas DIR          take the Lambda packages from DIR: wake.zip … as infra/lambda/build.sh makes them, or
                         wake/bootstrap.zip …
  --role ARN             have CloudFormation use this role
  --lift-policy          let this deployment remove or replace what the stack policy protects
  --file PATH            agent-env: write to a file that only you can read
  --yes                  do not ask

Asks before something is made that costs money while nobody uses it, or is removed or replaced.

Needs the aws command line tool (pip install awscli, or Debian's awscli), with credentials and a region as it takes them.

Environment
  AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …   as the aws tool takes them
  FLUIDITY_LAMBDA_DIR     as --lambdas
  FLUIDITY_PARAMS_DIR     where the parameter files are (default: infra/params)
  FLUIDITY_TEMPLATES_DIR  where the templates are (default: infra/cloudformation)
  FLUIDITY_POLL_SECONDS   how often to look whether AWS is done (default: 4)
TXT
}

main() {
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    only='' except='' overrides=() lambda_dir=${FLUIDITY_LAMBDA_DIR:-} role_arn='' lift_policy=false yes=false file=''
    command='' environment=''
    read_arguments "$@"
    ((BASH_VERSINFO[0] >= 5)) || fail "bash 5 is needed, this is $BASH_VERSION"
    templates=${FLUIDITY_TEMPLATES_DIR:-$root/infra/cloudformation}
    settings_file=${FLUIDITY_PARAMS_DIR:-$root/infra/params}/$environment.conf
    poll=${FLUIDITY_POLL_SECONDS:-4}
    revision=0 first_deploy=false change_set='' started_at=''
    # shellcheck source=infra/deploy/settings.sh
    source "$root/infra/deploy/settings.sh"
    # shellcheck source=infra/deploy/packages.sh
    source "$root/infra/deploy/packages.sh"
    # shellcheck source=infra/deploy/costs.sh
    source "$root/infra/deploy/costs.sh"
    # shellcheck source=infra/deploy/stack.sh
    source "$root/infra/deploy/stack.sh"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    : >"$work/outputs"
    : >"$work/packages"
    command -v aws >/dev/null || fail "the aws command line tool is missing: pip install awscli"
    export AWS_PAGER=''
    # Version 1 of the tool knows the region by another name only.
    if [[ -n ${AWS_REGION:-} ]]; then export AWS_DEFAULT_REGION=$AWS_REGION; fi
    load_settings "$settings_file"
    check_account
    case $command in
        plan) plan ;;
        deploy) deploy ;;
        status) status ;;
        drift) drift ;;
        agent-env) agent_env ;;
        destroy) destroy ;;
    esac
}

read_arguments() {
    local positional=()
    while (($#)); do
        case $1 in
            -h | --help | help)
                usage
                exit
                ;;
            --only) value_of "$@" && only=$value && shift ;;
            --except) value_of "$@" && except=$value && shift ;;
            --set) value_of "$@" && overrides+=("$value") && shift ;;
            --image-tag) value_of "$@" && overrides+=("ImageTag=$value") && shift ;;
            --lambdas) value_of "$@" && lambda_dir=$value && shift ;;
            --role) value_of "$@" && role_arn=$value && shift ;;
            --file) value_of "$@" && file=$value && shift ;;
            --lift-policy) lift_policy=true ;;
            --yes | -y) yes=true ;;
            -*) wrong "$1 is no option" ;;
            *) positional+=("$1") ;;
        esac
        shift
    done
    ((${#positional[@]} == 2)) || wrong "a command and an environment are needed"
    command=${positional[0]} environment=${positional[1]}
    [[ " plan deploy status drift agent-env destroy " == *" $command "* ]] || wrong "$command is no command"
    [[ $environment =~ ^[a-z][a-z0-9-]{0,15}$ ]] || wrong "$environment is no name of an environment (a-z, 0-9, -; 16 at the most)"
}

value_of() {
    (($# >= 2)) || wrong "$1 needs a value"
    value=$2
}

# The wrong account is the costliest typo.
check_account() {
    local wanted found
    found=$(aws sts get-caller-identity --query Account --output text) || fail "no credentials, or AWS is out of reach"
    if wanted=$(setting deploy Account) && [[ $wanted != "$found" ]]; then
        fail "these credentials are of account $found, and $settings_file is for $wanted"
    fi
    say "account $found, environment $environment"
}

plan() {
    local part
    begin
    for part in $(chosen_parts); do
        prepare_template "$part"
        plan_stack "$(stack_name "$part")" "$part"
    done
}

deploy() {
    local part
    begin
    for part in $(chosen_parts); do
        if [[ $part == control-plane ]]; then
            check_packages
            put_packages
        fi
        prepare_template "$part"
        deploy_stack "$(stack_name "$part")" "$part"
    done
    say "done"
}

# Reads what the stacks know that are there already: the account's, the chosen ones and, where only some are chosen, all.
begin() {
    local part
    find_packages
    for part in "${PARTS[@]}"; do
        if [[ -n $only || $part == account ]] || grep -qx "$part" "$work/sections"; then look "$(stack_name "$part")"; fi
    done
}

status() {
    local part name state
    for part in "${PARTS[@]}"; do
        name=$(stack_name "$part")
        look "$name"
        if state=$(seen "$name" status status); then printf '%-36s %s\n' "$name" "$state"; fi
    done
    if service >/dev/null; then
        printf '%-36s %s\n' "server" "$(say_service)"
    fi
    if earlier_output WakeEndpoint >/dev/null; then
        printf '%-36s %s\n' "wake" "$(earlier_output WakeEndpoint)" "kill" "$(earlier_output KillEndpoint)"
    fi
    if earlier_output FleetAddress >/dev/null; then printf '%-36s %s\n' "fleet" "$(earlier_output FleetAddress)"; fi
}

# DESIRED, RUNNING, PENDING, LAST WAKE of the service.
service() {
    local cluster name
    cluster=$(earlier_output ClusterName) && name=$(earlier_output ServiceName) || return 1
    aws ecs describe-services --cluster "$cluster" --services "$name" --include TAGS --output text --query \
        "services[0].[desiredCount, runningCount, pendingCount, tags[?key=='fluidity:last-wake'].value | [0]]"
}

say_service() {
    local desired running pending woken state=asleep
    IFS=$'\t' read -r desired running pending woken < <(service)
    if ((running > 0)); then state=awake; elif ((desired > 0)); then state=waking; fi
    printf '%s (desired %s, running %s, pending %s)' "$state" "$desired" "$running" "$pending"
    if [[ $woken =~ ^[0-9]+$ ]]; then printf ', last woken %d min ago' $((($(date +%s) - woken) / 60)); fi
}

is_awake() {
    local desired
    desired=$(service 2>/dev/null | cut -f 1) && [[ $desired =~ ^[1-9] ]]
}

drift() {
    local part found=0
    for part in $(chosen_parts); do
        look "$(stack_name "$part")"
        seen "$(stack_name "$part")" status status >/dev/null || continue
        drift_of "$(stack_name "$part")" || found=3
    done
    return "$found"
}

agent_env() {
    local id text
    look fluidity-"$environment"-control-plane
    look fluidity-"$environment"-fleet
    if id=$(earlier_output ApiKeyId); then
        text=$(printf 'FLUIDITY_WAKE_ENDPOINT=%s\nFLUIDITY_KILL_ENDPOINT=%s\nFLUIDITY_API_KEY=%s\n' \
            "$(earlier_output WakeEndpoint)" "$(earlier_output KillEndpoint)" \
            "$(aws apigateway get-api-key --api-key "$id" --include-value --query value --output text)")
    elif earlier_output FleetAddress >/dev/null; then
        text=$(printf 'FLUIDITY_SERVER_ADDRESS=%s\n' "$(earlier_output FleetAddress)")
    else
        fail "$environment has neither a control plane nor a fleet"
    fi
    if [[ -z $file ]]; then
        printf '%s\n' "$text"
    else
        (umask 077 && printf '%s\n' "$text" >"$file.new" && mv "$file.new" "$file")
        say "written to $file"
    fi
}

destroy() {
    local part name found=()
    if [[ $environment == account ]]; then
        refuse_while_used
        find_stack account
    else
        # Whatever is there, also what the file no longer names; the last one first.
        for part in pipeline fleet observability control-plane server network encryption; do
            find_stack "$part"
        done
    fi
    if ((${#found[@]})); then
        say "to be removed, with all images, logs and identities in them:"
        printf '  %s\n' "${found[@]}" >&2
        confirm_by_name
    else
        say "no stack is there"
    fi
    if [[ $environment == account ]]; then empty_bucket; else delete_identities; fi
    for name in "${found[@]}"; do
        say "removing $name"
        delete_stack "$name"
    done
    say "done"
}

# find_stack PART: adds its stack to $found, where there is one.
find_stack() {
    local name
    name=$(stack_name "$1")
    look "$name"
    if seen "$name" status status >/dev/null; then found+=("$name"); fi
}

refuse_while_used() {
    local others
    others=$(aws cloudformation describe-stacks --output text \
        --query "Stacks[?starts_with(StackName, 'fluidity-') && StackName != 'fluidity-account'].StackName")
    [[ -z $others ]] || fail "still there and in need of it: $others"
}

empty_bucket() {
    local bucket versions
    bucket=$(earlier_output ArtifactBucketName) || return 0
    while true; do
        versions=$(aws s3api list-object-versions --bucket "$bucket" --max-items 500 --output json \
            --query '{Objects: [Versions, DeleteMarkers][] | [].{Key: Key, VersionId: VersionId}}')
        [[ $versions == *'"Key"'* ]] || return 0
        aws s3api delete-objects --bucket "$bucket" --delete "$versions" >/dev/null
    done
}

# The copies that scripts/certs-to-aws.sh made. A Secrets Manager secret goes with its stack.
delete_identities() {
    local prefix=/fluidity/$environment/server
    aws ssm delete-parameters --names "$prefix/certificate" "$prefix/key" "$prefix/ca" "$prefix/not-after" >/dev/null
}

confirm() {
    local answer
    if [[ $yes == true ]]; then return; fi
    if [[ ! -t 0 ]]; then
        say "  This has to be confirmed: run it in a terminal, or with --yes."
        return 1
    fi
    read -r -p "$1 [y/N] " answer
    [[ $answer == [yY]* ]]
}

confirm_by_name() {
    local answer
    if [[ $yes == true ]]; then return; fi
    [[ -t 0 ]] || fail "this has to be confirmed: run it in a terminal, or with --yes"
    read -r -p "Type the name of the environment to remove it: " answer
    [[ $answer == "$environment" ]] || fail "nothing was removed"
}

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    printf 'deploy.sh: %s\n' "$*" >&2
    exit 1
}

wrong() {
    printf 'deploy.sh: %s; see --help\n' "$*" >&2
    exit 2
}

main "$@"
