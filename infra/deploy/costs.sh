# shellcheck shell=bash
# Sourced by scripts/deploy.sh: what a new resource costs while nobody uses it. Prices of us-east-1; docs/cost.md has more.

# standing_cost TYPE: a line, or nothing for what costs nothing at rest.
standing_cost() {
    case $1 in
        AWS::CloudWatch::Dashboard) echo '0 to 3 USD a month (three are free for an account)' ;;
        AWS::ElasticLoadBalancingV2::LoadBalancer) echo 'about 24 USD a month with its two public addresses' ;;
        AWS::KMS::Key) echo '1 USD a month, and 1 more from each of the first two yearly rotations' ;;
        AWS::SecretsManager::Secret) echo '0.40 USD a month' ;;
        AWS::WAFv2::WebACL) echo '8 USD a month with its three rules' ;;
        AWS::ApplicationAutoScaling::ScalableTarget) echo 'tasks that always run: from 11 USD a month each, with their public address' ;;
        AWS::EC2::NatGateway) echo 'about 33 USD a month' ;;
    esac
}
