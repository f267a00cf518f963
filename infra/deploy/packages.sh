# shellcheck shell=bash
# Sourced by scripts/deploy.sh, which sets what is used here and not set here: the Lambda packages, from a directory into
# the bucket, under names that carry their hash.
# shellcheck disable=SC2154

# find_packages: fills $work/packages with lines of PARAMETER, KEY, FILE. Nothing where there are none: the functions
# then keep the packages that they have.
find_packages() {
    local name file hash
    : >"$work/packages"
    for name in wake sleep kill; do
        file=$(package_file "$name") || continue
        hash=$(sha256 <"$file" | cut -c 1-20)
        printf '%sCodeKey\tlambda/%s-%s.zip\t%s\n' "${name^}" "$name" "$hash" "$file" >>"$work/packages"
    done
}

# package_file NAME: DIR/wake.zip, or DIR/wake/bootstrap.zip.
package_file() {
    local file
    [[ -n $lambda_dir ]] || return 1
    for file in "$lambda_dir/$1.zip" "$lambda_dir/$1/bootstrap.zip"; do
        if [[ -f $file ]]; then
            echo "$file"
            return
        fi
    done
    fail "$lambda_dir has neither $1.zip nor $1/bootstrap.zip; build them with infra/lambda/build.sh"
}

package_key() {
    [[ $1 == control-plane ]] || return 1
    awk -F '\t' -v key="$2" '$1 == key { print $2; found = 1 } END { exit !found }' "$work/packages"
}

# A package for the wrong processor deploys well and fails at its first call.
check_packages() {
    local key file wanted found
    wanted=$(parameter control-plane LambdaArchitecture) || wanted=arm64
    if ! command -v unzip >/dev/null; then return; fi
    while IFS=$'\t' read -r key _ file; do
        # Bytes 18 and 19 of an ELF file say the machine.
        case $(unzip -p "$file" bootstrap 2>/dev/null | od -An -tx1 -N 20 | tr -d ' \n') in
            7f454c46*3e00) found=x86_64 ;;
            7f454c46*b700) found=arm64 ;;
            *) continue ;;
        esac
        [[ $found == "$wanted" ]] ||
            fail "$file is for $found, and LambdaArchitecture is $wanted ($key)"
    done <"$work/packages"
}

put_packages() {
    local bucket parameter key file
    [[ -s $work/packages ]] || return 0
    bucket=$(earlier_output ArtifactBucketName) || fail "there is no bucket for the Lambda packages: first \`scripts/deploy.sh deploy account\`"
    while IFS=$'\t' read -r parameter key file; do
        if [[ $(seen "$(stack_name control-plane)" parameter "$parameter") == "$key" ]]; then continue; fi
        if aws s3api head-object --bucket "$bucket" --key "$key" >/dev/null 2>&1; then continue; fi
        say "  $key -> bucket"
        aws s3api put-object --bucket "$bucket" --key "$key" --body "$file" >/dev/null
    done <"$work/packages"
}
