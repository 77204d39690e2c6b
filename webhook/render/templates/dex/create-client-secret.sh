#!/bin/sh
# Put the client's secret where dex reads it.  Can be run again; prints no secret.
#
# The same file is what `provisioning.oidc.clientSecretFile` names, from which
# `harbor-cache harbor apply` tells it to Harbor: one secret, two readers.
set -eu
cd "$(dirname "$0")"
namespace=${1:-dex}

[ -s client-secret ] || { echo "create-client-secret.sh: client-secret is missing or empty" >&2; exit 1; }

kubectl create namespace "$namespace" --dry-run=client --output=yaml | kubectl apply --filename=-
# From a file: on a command line, every user of the machine could see it.
kubectl --namespace "$namespace" create secret generic <{ oidc.client_id }> \
    --from-file=client-secret=client-secret --dry-run=client --output=yaml |
    kubectl apply --filename=-
