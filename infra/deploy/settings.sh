# shellcheck shell=bash
# Sourced by scripts/deploy.sh, which sets what is used here and not set here: what the parameter files say, and which
# value each parameter of a template gets.
# shellcheck disable=SC2154

# In the order of deployment: each may use the outputs of those before it.
readonly PARTS=(account encryption network server control-plane observability fleet pipeline)
# What a release sets. They stay what they were where nobody says anything else.
readonly RELEASE_PARAMETERS=" ImageTag WakeCodeKey SleepCodeKey KillCodeKey "
# What this script works out itself; a parameter file may not set them.
readonly OWN_PARAMETERS=" Environment FirstDeploy Revision WakeCodeKey SleepCodeKey KillCodeKey "

# load_settings FILE: checks it and writes it to $work/settings, a line for each: SECTION, KEY, VALUE, by tabs.
load_settings() {
    local file=$1 line number=0 section='' key value
    [[ -f $file ]] || fail "there is no $file; environments are the files in $(dirname "$file")"
    : >"$work/settings"
    : >"$work/sections"
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=$(trim "$line")
        if [[ -z $line || $line == \#* ]]; then
            continue
        elif [[ $line =~ ^\[([a-z-]+)\]$ ]]; then
            section=${BASH_REMATCH[1]}
            [[ $section != account || $environment == account ]] || fail "$file:$number: [account] belongs into account.conf"
            is_section "$section" || fail "$file:$number: [$section] is no stack; one of: all deploy ${PARTS[*]}"
            ! grep -qx "$section" "$work/sections" || fail "$file:$number: [$section] is there twice"
            echo "$section" >>"$work/sections"
        elif [[ $line =~ ^([A-Za-z0-9]+)[[:space:]]*=(.*)$ ]]; then
            key=${BASH_REMATCH[1]}
            value=$(trim "${BASH_REMATCH[2]}")
            [[ -n $section ]] || fail "$file:$number: $key stands before the first [section]"
            [[ $OWN_PARAMETERS != *" $key "* ]] || fail "$file:$number: $key is worked out by scripts/deploy.sh"
            ! setting "$section" "$key" >/dev/null || fail "$file:$number: $key is there twice in [$section]"
            printf '%s\t%s\t%s\n' "$section" "$key" "$value" >>"$work/settings"
        else
            fail "$file:$number: neither [section] nor Key = value: $line"
        fi
    done <"$file"
}

is_section() {
    [[ " all deploy ${PARTS[*]} " == *" $1 "* ]]
}

# setting SECTION KEY: its value, or failure where it is not set.
setting() {
    awk -F '\t' -v section="$1" -v key="$2" \
        '$1 == section && $2 == key { print substr($0, length($1) + length($2) + 3); found = 1 } END { exit !found }' \
        "$work/settings"
}

# Which stacks to work on: those that have a section, or those that --only names; never those that --except names.
chosen_parts() {
    local part
    for part in "${PARTS[@]}"; do
        if [[ -n $only ]]; then
            [[ ",$only," == *",$part,"* ]] || continue
        else
            grep -qx "$part" "$work/sections" || continue
        fi
        [[ ",$except," == *",$part,"* ]] || echo "$part"
    done
}

stack_name() {
    if [[ $1 == account ]]; then echo fluidity-account; else echo "fluidity-$environment-$1"; fi
}

# parameters PART: writes $work/PART.json for a change set. Sets $missing to what has no value.
parameters() {
    local part=$1 key optional value separator=''
    missing=()
    template_parameters "$part" >"$work/$part.keys"
    check_keys "$part"
    {
        echo '['
        while IFS=$'\t' read -r key optional; do
            if value=$(parameter "$part" "$key"); then
                printf '%s{"ParameterKey": "%s", "ParameterValue": %s}\n' "$separator" "$key" "$(json_string "$value")"
                separator=,
            elif [[ -z $optional ]]; then
                missing+=("$key")
            fi
        done <"$work/$part.keys"
        echo ']'
    } >"$work/$part.json"
}

# parameter PART KEY: from the command line, this script, the file, an earlier stack, the stack as it is; else failure.
parameter() {
    local part=$1 key=$2
    case $key in
        Environment)
            echo "$environment"
            return
            ;;
        FirstDeploy)
            echo "$first_deploy"
            return
            ;;
        Revision)
            echo "$revision"
            return
            ;;
    esac
    override "$part" "$key" ||
        package_key "$part" "$key" ||
        setting "$part" "$key" ||
        setting all "$key" ||
        earlier_output "$key" ||
        released "$part" "$key"
}

# override PART KEY: --set PART.KEY=VALUE or --set KEY=VALUE; the last one counts.
override() {
    local part=$1 key=$2 one found=1 value=''
    for one in "${overrides[@]}"; do
        case $one in
            "$part.$key="* | "$key="*)
                value=${one#*=}
                found=0
                ;;
        esac
    done
    ((found == 0)) && printf '%s\n' "$value"
}

earlier_output() {
    awk -F '\t' -v key="$1" '$1 == key { value = substr($0, length($1) + 2); found = 1 } END { if (found) print value; exit !found }' \
        "$work/outputs"
}

released() {
    [[ $RELEASE_PARAMETERS == *" $2 "* ]] && seen "$(stack_name "$1")" parameter "$2"
}

# A key that the template does not know is a typo.
check_keys() {
    local part=$1 section key
    while IFS=$'\t' read -r section key _; do
        [[ $section == "$part" ]] || continue
        cut -f 1 "$work/$part.keys" | grep -qx "$key" || fail "[$part] $key: $part.yaml has no such parameter"
    done <"$work/settings"
}

# Lines of KEY, and "optional" where the template has a default. The templates keep to one layout: two spaces a level.
template_parameters() {
    awk '/^[A-Za-z]/ { inside = $1 == "Parameters:" }
        inside && /^  [A-Za-z0-9]+:$/ { if (name != "") print name "\t" rest; name = substr($1, 1, length($1) - 1); rest = "" }
        inside && /^    Default:/ { rest = "optional" }
        END { if (name != "") print name "\t" rest }' "$(template "$1")"
}

# The template with the names of its snapshots: see FluidityRevision in control-plane.yaml.
template() {
    echo "$work/$1.yaml"
}

# prepare_template PART: once per part, after its packages are known. A revision is a hash of what a snapshot holds:
# the template and all that goes into it.
prepare_template() {
    local part=$1 source=$templates/$1.yaml
    [[ -f $source ]] || fail "there is no $source"
    cp "$source" "$work/$part.yaml"
    if ! grep -q Rev0 "$source"; then return; fi
    revision=0
    parameters "$part"
    revision=$(cat "$source" "$work/$part.json" | sha256 | cut -c 1-10)
    sed "s/Rev0/Rev$revision/g" "$source" >"$work/$part.yaml"
}

json_string() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\t'/\\t}
    printf '"%s"' "$text"
}

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

trim() {
    local text=$1
    text=${text#"${text%%[![:space:]]*}"}
    printf '%s' "${text%"${text##*[![:space:]]}"}"
}
