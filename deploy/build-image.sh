#!/bin/sh
# Build the container image with whichever of docker, podman and buildah works here.
# Usage: build-image.sh IMAGE REPOSITORY VERSION; the last two are what the chart pulls by default.
# PYTHON_IMAGE, if set, is the base to build on.
set -eu
cd "$(dirname "$0")/.."
image=$1 default=$2 version=$3

# A colon behind the last slash begins a tag; one before it, a port.
case ${image##*/} in
  *@*) echo "IMAGE=$image: name a tag, not a digest." >&2; exit 2 ;;
  *:*) name=${image%:*} tag=${image##*:} ;;
  *) name=$image tag=$version ;;
esac
case $name in
  '' | *[!a-z0-9._/:-]*) echo "IMAGE=$image: write registry/name:tag, in lower case." >&2; exit 2 ;;
esac

# Docker's client is often there without its daemon.
if docker info >/dev/null 2>&1; then engine=docker build=build
elif podman info >/dev/null 2>&1; then engine=podman build=build
elif buildah version >/dev/null 2>&1; then engine=buildah build=bud
else
  echo "Neither docker, podman nor buildah works here (docker needs its daemon)." >&2
  exit 1
fi
set -- "$engine" "$build" --tag "$name:$tag"
if [ -n "${PYTHON_IMAGE:-}" ]; then set -- "$@" --build-arg "PYTHON_IMAGE=$PYTHON_IMAGE"; fi
"$@" .

echo
echo "Built $name:$tag with $engine. What follows, with your Harbor in place of the example:"
echo
echo "  $engine push $name:$tag"
printf '  helm install harbor-cache-webhook charts/harbor-cache-webhook --namespace harbor-cache --create-namespace'
printf ' --set config.harbor.url=https://harbor-cache.example.com'
if [ "$name" != "$default" ]; then printf ' --set image.repository=%s' "$name"; fi
if [ "$tag" != "$version" ]; then printf ' --set-string image.tag=%s' "$tag"; fi
echo
