#!/usr/bin/env bash
# Puts a server's identity where its ECS tasks read it. See --help.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: scripts/certs-to-aws.sh ENVIRONMENT [OPTION…]

Puts the server's certificate, its key and the private CA, as `fluidity pki` has made them, into SSM Parameter Store
(encrypted) or Secrets Manager, whichever the environment's parameter file names as IdentityStore. The next task that
starts has them. Safe to repeat; the CA's own key never leaves your machine.

Options
  --pki DIR       the directory of `fluidity pki` (default: pki)
  --server NAME   the server's name (default: fluidity-server)
  --key-id KEY    encrypt with this KMS key (default: the key of the environment's encryption stack, or AWS's own)
  --restart       replace a server that runs now: its sessions end, after 110 s at the most
  --check DAYS    put nothing; exit code 3 if what is there ends within DAYS days
  --delete        remove what is there

Needs the aws command line tool, and openssl to read the end of the certificate.

Environment
  AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …   as the aws tool takes them
  FLUIDITY_PARAMS_DIR                            where the parameter files are (default: infra/params)
TXT
}

main() {
    local root
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    environment='' pki=pki server=fluidity-server key_id='' restart=false action=put days=''
    read_arguments "$@"
    export AWS_PAGER=''
    # Version 1 of the tool knows the region by another name only.
    if [[ -n ${AWS_REGION:-} ]]; then export AWS_DEFAULT_REGION=$AWS_REGION; fi
    command -v aws >/dev/null || fail "the aws command line tool is missing: pip install awscli"
    store=$(identity_store "${FLUIDITY_PARAMS_DIR:-$root/infra/params}/$environment.conf")
    prefix=/fluidity/$environment/server
    case $action in
        put) put ;;
        check) check ;;
        delete) delete ;;
    esac
}

read_arguments() {
    while (($#)); do
        case $1 in
            -h | --help | help)
                usage
                exit
                ;;
            --pki) value_of "$@" && pki=$value && shift ;;
            --server) value_of "$@" && server=$value && shift ;;
            --key-id) value_of "$@" && key_id=$value && shift ;;
            --restart) restart=true ;;
            --check) value_of "$@" && action=check days=$value && shift ;;
            --delete) action=delete ;;
            -*) wrong "$1 is no option" ;;
            *)
                [[ -z $environment ]] || wrong "one environment only"
                environment=$1
                ;;
        esac
        shift
    done
    [[ $environment =~ ^[a-z][a-z0-9-]{0,15}$ ]] || wrong "the name of an environment is needed"
    [[ -z $days || $days =~ ^[0-9]+$ ]] || wrong "--check takes a number of days"
}

value_of() {
    (($# >= 2)) || wrong "$1 needs a value"
    value=$2
}

identity_store() {
    local store
    [[ -f $1 ]] || fail "there is no $1"
    store=$(sed -n 's/^IdentityStore[[:space:]]*=[[:space:]]*\([a-z]*\)[[:space:]]*$/\1/p' "$1" | tail -n 1)
    case ${store:=ssm} in
        ssm | secretsmanager) echo "$store" ;;
        *) fail "$1: IdentityStore is neither ssm nor secretsmanager" ;;
    esac
}

put() {
    local certificate=$pki/server-$server.pem key=$pki/server-$server.key ca=$pki/ca.pem not_after
    look_at "$certificate" 'BEGIN CERTIFICATE'
    look_at "$key" 'PRIVATE KEY'
    look_at "$ca" 'BEGIN CERTIFICATE'
    # The key of the CA under the name of the CA's certificate would be the end of all trust.
    ! grep -q 'PRIVATE KEY' "$ca" "$certificate" || fail "$ca or $certificate holds a private key: these two are no secrets, and must hold none"
    not_after=$(end_of "$certificate")
    [[ -n $key_id ]] || key_id=$(environment_key)
    if [[ $store == ssm ]]; then
        put_parameter certificate "$certificate"
        put_parameter key "$key"
        put_parameter ca "$ca"
    else
        put_secret "$certificate" "$key" "$ca"
    fi
    # Its end in the clear: a check can read it without any right to the key.
    aws ssm put-parameter --name "$prefix/not-after" --type String --overwrite --value "$not_after" >/dev/null
    say "the server's identity ($server, until $not_after) is in $store"
    if [[ $restart == true ]]; then restart_server; else say "it takes effect with the next task: at the next wake, or now with --restart"; fi
}

look_at() {
    [[ -f $1 ]] || fail "there is no $1: fluidity pki --dir $pki issue server $server"
    grep -q "$2" "$1" || fail "$1 holds no $2"
}

put_parameter() {
    local name=$1 file=$2 key=()
    if [[ -n $key_id ]]; then key=(--key-id "$key_id"); fi
    # By file://, so that the key is on no command line.
    aws ssm put-parameter --name "$prefix/$name" --type SecureString --overwrite "${key[@]}" \
        --value "file://$file" >/dev/null
}

# One secret with the three texts as JSON. PEM needs nothing escaped but its line ends.
put_secret() {
    local scratch
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory of now
    trap "rm -rf '$scratch'" EXIT
    (
        umask 077
        printf '{"certificate": "%s", "key": "%s", "ca": "%s"}' \
            "$(json_text "$1")" "$(json_text "$2")" "$(json_text "$3")" >"$scratch/identity.json"
    )
    aws secretsmanager put-secret-value --secret-id "fluidity/$environment/server" \
        --secret-string "file://$scratch/identity.json" >/dev/null ||
        fail "the secret is made by the server stack: first \`scripts/deploy.sh deploy $environment --only network,server\`"
}

json_text() {
    awk '{ sub(/\r$/, ""); gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); printf "%s\\n", $0 }' "$1"
}

end_of() {
    local text
    command -v openssl >/dev/null || fail "openssl is missing"
    text=$(openssl x509 -in "$1" -noout -enddate -dateopt iso_8601 2>/dev/null) || text=$(openssl x509 -in "$1" -noout -enddate)
    openssl x509 -in "$1" -noout -checkend 0 >/dev/null || fail "$1 has ended ($text): fluidity pki renew"
    printf '%s\n' "${text#notAfter=}"
}

environment_key() {
    aws cloudformation describe-stacks --stack-name "fluidity-$environment-encryption" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='KmsKeyArn'].OutputValue | [0]" 2>/dev/null || true
}

check() {
    local text end left
    text=$(aws ssm get-parameter --name "$prefix/not-after" --query Parameter.Value --output text) ||
        fail "$environment has no identity in AWS"
    end=$(date -u -d "$text" +%s 2>/dev/null || date -u -j -f '%Y-%m-%d %H:%M:%SZ' "$text" +%s) || fail "$text is no date"
    left=$(((end - $(date +%s)) / 86400))
    say "the server's certificate of $environment ends on $text, in $left days"
    if ((left < days)); then
        say "renew it: docs/runbook.md, \"certificates\""
        exit 3
    fi
}

delete() {
    local name
    for name in certificate key ca not-after; do
        aws ssm delete-parameter --name "$prefix/$name" >/dev/null 2>&1 || true
    done
    if [[ $store == secretsmanager ]]; then
        say "the secret itself belongs to the server stack, and goes with it"
    fi
    say "removed"
}

restart_server() {
    local cluster=fluidity-$environment service=fluidity-$environment-server
    # The number of tasks stays what it is: a server that sleeps is not woken.
    aws ecs update-service --cluster "$cluster" --service "$service" --force-new-deployment >/dev/null
    say "the server is being replaced, where one runs"
}

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    printf 'certs-to-aws.sh: %s\n' "$*" >&2
    exit 1
}

wrong() {
    printf 'certs-to-aws.sh: %s; see --help\n' "$*" >&2
    exit 2
}

main "$@"
