#!/usr/bin/env bash
# gateway.sh IMAGE: build the project's Dockerfile with podman as root, on top of the base image python.sh made.
# The machine's own certificates are trusted during the build, for networks whose way out is a TLS proxy; nothing of them
# stays in the image.
set -euo pipefail
image=$1
here=$(cd "$(dirname "$0")" && pwd)
export CONTAINERS_CONF=${CONTAINERS_CONF:-$here/containers.conf}

certificates=/etc/ssl/certs/ca-certificates.crt
podman build --quiet --format docker --pull=never --network host --isolation chroot \
    -v "$certificates:$certificates:ro" -t "$image" "$here/../../.."
