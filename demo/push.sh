#!/bin/sh
# Pushes a version of the demonstration's image. Usage: push.sh DATA VERSION
set -eu
DATA=$1 VERSION=$2
. "$(dirname "$0")/registry.sh"
registry_alive || { echo "no registry runs for $DATA; start it with: make up" >&2; exit 1; }
registry_push "$VERSION"
echo "pushed demo:$VERSION; follow it at the address that make up printed"
