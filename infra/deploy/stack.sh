# shellcheck shell=bash
# Sourced by scripts/deploy.sh, which sets what is used here and not set here: one CloudFormation stack, from change set
# to outputs.
# shellcheck disable=SC2154

# look NAME: reads all that is asked of a stack in one call: $work/NAME.stack, lines of KIND, KEY, VALUE. Later stacks take
# their parameters from its outputs.
look() {
    local name=$1
    aws cloudformation describe-stacks --stack-name "$name" --output text --query "Stacks[0].[
            [['status', 'status', StackStatus], ['protected', 'protected', EnableTerminationProtection]],
            Outputs[].['output', OutputKey, OutputValue], Parameters[].['parameter', ParameterKey, ParameterValue]
        ][]" >"$work/$name.stack" 2>/dev/null || : >"$work/$name.stack"
    awk -F '\t' '$1 == "output" { print substr($0, 8) }' "$work/$name.stack" >>"$work/outputs"
}

# seen NAME KIND KEY: what `look` has found, or failure.
seen() {
    [[ -f $work/$1.stack ]] || return 1
    awk -F '\t' -v kind="$2" -v key="$3" \
        '$1 == kind && $2 == key { print substr($0, length($1) + length($2) + 3); found = 1 } END { exit !found }' \
        "$work/$1.stack"
}

# The status now, which may have changed since `look`; empty where there is no such stack.
status_now() {
    aws cloudformation describe-stacks --stack-name "$1" --query 'Stacks[0].StackStatus' --output text 2>/dev/null || true
}

# make_change_set NAME PART: sets $change_set, empty where nothing would change.
make_change_set() {
    local name=$1 part=$2 type=UPDATE status reason role=()
    case $(seen "$name" status status) in
        '' | REVIEW_IN_PROGRESS) type=CREATE ;;
        *_IN_PROGRESS) fail "$name is being changed by someone else: wait for it" ;;
    esac
    if [[ -n $role_arn ]]; then role=(--role-arn "$role_arn"); fi
    change_set=$(aws cloudformation create-change-set --stack-name "$name" --change-set-type "$type" \
        --change-set-name "deploy-$(date +%Y%m%d-%H%M%S)-$RANDOM" \
        --template-body "file://$(template "$part")" --parameters "file://$work/$part.json" \
        --capabilities CAPABILITY_IAM "${role[@]}" \
        --tags "Key=fluidity:project,Value=fluidity" "Key=fluidity:environment,Value=$environment" \
        --query Id --output text)
    while true; do
        IFS=$'\t' read -r status reason < <(aws cloudformation describe-change-set --change-set-name "$change_set" \
            --query '[Status, StatusReason]' --output text)
        case $status in
            CREATE_COMPLETE) return ;;
            FAILED)
                drop_change_set "$name"
                case $reason in
                    *"didn't contain changes"* | *"No updates are to be performed"*) return ;;
                    *) fail "$name: $reason" ;;
                esac
                ;;
            '') fail "$name: its change set is gone" ;;
            *) sleep "$poll" ;;
        esac
    done
}

# A change set for a new stack leaves an empty stack behind.
drop_change_set() {
    aws cloudformation delete-change-set --change-set-name "$change_set" >/dev/null
    change_set=''
    case $(seen "$1" status status) in
        '' | REVIEW_IN_PROGRESS)
            # A pipeline may not delete stacks. The empty one does no harm, and becomes the real one.
            aws cloudformation delete-stack --stack-name "$1" || say "  $1 is left, with nothing in it"
            ;;
    esac
}

# Lines of ACTION, LOGICAL ID, TYPE, REPLACEMENT.
read_changes() {
    aws cloudformation describe-change-set --change-set-name "$change_set" --output text \
        --query 'Changes[].ResourceChange.[Action, LogicalResourceId, ResourceType, Replacement]' >"$work/changes"
}

show_changes() {
    local action id type replacement note
    while IFS=$'\t' read -r action id type replacement; do
        note=''
        if [[ $replacement == True || $replacement == Conditional ]]; then note="  (replaced: ${replacement,,})"; fi
        case $action in
            Add) say "    + $id  $type" ;;
            Remove) say "    - $id  $type" ;;
            *) say "    ~ $id  $type$note" ;;
        esac
    done <"$work/changes"
}

# confirm_changes NAME: asks where something is to cost money at rest, or to be lost.
confirm_changes() {
    local action id type replacement cost concerns=()
    while IFS=$'\t' read -r action id type replacement; do
        cost=$(standing_cost "$type")
        if [[ $action == Add && -n $cost ]]; then concerns+=("$id costs $cost"); fi
        if is_snapshot "$type"; then continue; fi
        if [[ $action == Remove ]]; then concerns+=("$id is removed"); fi
        if [[ $replacement == True ]]; then concerns+=("$id is replaced"); fi
        if [[ $type == AWS::ECS::Service && $action == Modify ]] && is_awake; then
            concerns+=("the server is awake: a new task definition restarts it, and ends its sessions after 110 s at the most")
        fi
    done <"$work/changes"
    if ((${#concerns[@]} == 0)); then return; fi
    say "  $1:"
    printf '    ! %s\n' "${concerns[@]}" >&2
    confirm "  Do it?"
}

# refuse_losses NAME: what the stack policy protects must not go. AWS would refuse it halfway through, and roll back.
refuse_losses() {
    local action id type replacement losses=()
    [[ $lift_policy == false ]] || return 0
    while IFS=$'\t' read -r action id type replacement; do
        if [[ $action == Remove || $replacement == True ]] && grep -qF "\"$type\"" "$templates/stack-policy.json"; then
            losses+=("$id ($type)")
        fi
    done <"$work/changes"
    if ((${#losses[@]})); then
        drop_change_set "$1"
        fail "$1: the stack policy protects ${losses[*]}; where the loss is meant: --lift-policy"
    fi
}

# What is replaced at every change by design.
is_snapshot() {
    [[ " AWS::ApiGateway::Deployment AWS::Lambda::Version AWS::ECS::TaskDefinition " == *" $1 "* ]]
}

# execute NAME: runs $change_set to its end; on failure says why.
execute() {
    local name=$1 status
    started_at=$(date -u +%Y-%m-%dT%H:%M:%S)
    aws cloudformation execute-change-set --change-set-name "$change_set"
    while true; do
        status=$(status_now "$name")
        case $status in
            CREATE_COMPLETE | UPDATE_COMPLETE) return ;;
            REVIEW_IN_PROGRESS | *_IN_PROGRESS) sleep "$poll" ;;
            *)
                say "  $name ended in $status:"
                failures "$name"
                fail "$name was not deployed; what was there before is there again"
                ;;
        esac
    done
}

failures() {
    aws cloudformation describe-stack-events --stack-name "$1" --output text --query \
        "StackEvents[?contains(ResourceStatus, 'FAILED') && Timestamp >= '$started_at'].[LogicalResourceId, ResourceStatusReason]" |
        sed 's/^/    /' >&2
}

# deploy_stack NAME PART
deploy_stack() {
    local name=$1 part=$2 status
    status=$(seen "$name" status status) || status=''
    case $status in
        ROLLBACK_COMPLETE | ROLLBACK_FAILED | CREATE_FAILED | DELETE_FAILED)
            say "  $name was never finished ($status): it is removed first"
            delete_stack "$name"
            look "$name"
            status=''
            ;;
    esac
    first_deploy=false
    if [[ -z $status || $status == REVIEW_IN_PROGRESS ]]; then first_deploy=true; fi
    parameters "$part"
    if ((${#missing[@]})); then
        fail "$part: no value for ${missing[*]}: neither in $settings_file, nor an output of an earlier stack$(hint "${missing[*]}")"
    fi
    make_change_set "$name" "$part"
    if [[ -z $change_set ]]; then
        say "  $name: no changes"
    else
        read_changes
        say "  $name: ${status:-new}"
        show_changes
        refuse_losses "$name"
        if ! confirm_changes "$name"; then
            drop_change_set "$name"
            fail "stopped before $name"
        fi
        if [[ $lift_policy == true && -n $status ]]; then set_policy "$name" "$ALLOW_ALL"; fi
        execute "$name"
        look "$name"
    fi
    if [[ $first_deploy == true ]] && cut -f 1 "$work/$part.keys" | grep -qx FirstDeploy; then
        # Hand the number of tasks over: from now on no update touches it.
        first_deploy=false
        parameters "$part"
        make_change_set "$name" "$part"
        if [[ -n $change_set ]]; then execute "$name"; fi
    fi
    protect "$name"
}

hint() {
    if [[ $1 == *CodeKey* ]]; then echo '; the Lambda packages, which infra/lambda/build.sh makes, are given by --lambdas DIR'; fi
}

# protect NAME: the stack policy, and termination protection where the file asks for it.
protect() {
    local name=$1 wanted flag=--no-enable-termination-protection
    set_policy "$name" "$(cat "$templates/stack-policy.json")"
    wanted=$(setting deploy TerminationProtection) || wanted=false
    [[ $(seen "$name" protected protected) == "${wanted^}" ]] && return
    if [[ $wanted == true ]]; then flag=--enable-termination-protection; fi
    aws cloudformation update-termination-protection --stack-name "$name" "$flag" >/dev/null
}

readonly ALLOW_ALL='{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"}]}'

set_policy() {
    aws cloudformation set-stack-policy --stack-name "$1" --stack-policy-body "$2"
}

# plan_stack NAME PART: shows and drops the change set.
plan_stack() {
    local name=$1 part=$2 status
    status=$(seen "$name" status status) || status=''
    first_deploy=false
    if [[ -z $status || $status == REVIEW_IN_PROGRESS ]]; then first_deploy=true; fi
    parameters "$part"
    if ((${#missing[@]})); then
        say "  $name: ${status:-new}, once there is: ${missing[*]}"
        return
    fi
    make_change_set "$name" "$part"
    if [[ -z $change_set ]]; then
        say "  $name: no changes"
    else
        read_changes
        say "  $name: ${status:-new}"
        show_changes
        show_costs
        drop_change_set "$name"
    fi
}

show_costs() {
    local action id type cost
    while IFS=$'\t' read -r action id type _; do
        cost=$(standing_cost "$type")
        if [[ $action == Add && -n $cost ]]; then say "    ! $id costs $cost"; fi
    done <"$work/changes"
}

delete_stack() {
    local name=$1 id status
    id=$(aws cloudformation describe-stacks --stack-name "$name" --query 'Stacks[0].StackId' --output text)
    started_at=$(date -u +%Y-%m-%dT%H:%M:%S)
    if [[ $(seen "$name" protected protected) != False ]]; then
        aws cloudformation update-termination-protection --stack-name "$name" --no-enable-termination-protection >/dev/null
    fi
    aws cloudformation delete-stack --stack-name "$name"
    while true; do
        # By its id a deleted stack is still told of.
        status=$(status_now "$id")
        case $status in
            '' | DELETE_COMPLETE) return ;;
            DELETE_FAILED)
                failures "$id"
                fail "$name could not be removed"
                ;;
            *) sleep "$poll" ;;
        esac
    done
}

# drift_of NAME: says what is no longer as the stack has it; returns 1 where something is.
drift_of() {
    local name=$1 id status drifted
    # Callers look at the result of this function, which switches `set -e` off in it.
    id=$(aws cloudformation detect-stack-drift --stack-name "$name" --query StackDriftDetectionId --output text) ||
        fail "$name: drift could not be looked for"
    while true; do
        status=$(aws cloudformation describe-stack-drift-detection-status --stack-drift-detection-id "$id" --output text \
            --query '[DetectionStatus, StackDriftStatus, DetectionStatusReason]') ||
            fail "$name: drift could not be looked for"
        case $status in
            DETECTION_COMPLETE*IN_SYNC*)
                say "  $name: as deployed"
                return
                ;;
            DETECTION_COMPLETE*) break ;;
            DETECTION_FAILED*)
                # Types that CloudFormation cannot look at make the whole detection "fail"; what it found still counts.
                say "  $name: not all could be looked at: ${status##*$'\t'}"
                break
                ;;
            *) sleep "$poll" ;;
        esac
    done
    drifted=$(aws cloudformation describe-stack-resource-drifts --stack-name "$name" --output text \
        --stack-resource-drift-status-filters MODIFIED DELETED \
        --query 'StackResourceDrifts[].[StackResourceDriftStatus, LogicalResourceId, ResourceType, PhysicalResourceId]')
    if [[ -z $drifted ]]; then
        say "  $name: nothing has drifted"
        return
    fi
    say "  $name: DRIFTED"
    say "    ${drifted//$'\n'/$'\n'    }"
    aws cloudformation describe-stack-resource-drifts --stack-name "$name" --output text \
        --stack-resource-drift-status-filters MODIFIED \
        --query 'StackResourceDrifts[].PropertyDifferences[].[PropertyPath, ExpectedValue, ActualValue]' |
        awk -F '\t' '{ printf "      %s: deployed %s, is %s\n", $1, $2, $3 }' >&2
    return 1
}
