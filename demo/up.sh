#!/bin/sh
# Starts a registry on a free loopback port, pushes version 1, and runs Gennaker with the demonstration.
# Usage: up.sh DATA PORT BALANCER_PORT
set -eu
DATA=$1 PORT=$2 BALANCER_PORT=$3
. "$(dirname "$0")/registry.sh"

mkdir -p "$DATA"
up() {
    GENNAKER_DEMO_REGISTRY="127.0.0.1:$(cat "$registry_folder/port")" \
        exec "$GENNAKER_BIN_DIR/gennaker" up --data "$DATA" --port "$PORT" \
        --balancer-port "$BALANCER_PORT" --demo
}
# Somebody runs here already: it says who, and keeps its registry.
if [ -f "$DATA/up.lock" ] && ! flock -n "$DATA/up.lock" true; then
    up
fi
url="http://127.0.0.1:$PORT/webhooks/docker/demo-registry"
if ! registry_notifies "$url"; then
    # Nothing half made is left behind, so that the next try begins where this one did.
    trap registry_stop EXIT
    trap 'exit 130' INT TERM
    registry_stop
    # Version 1 is there before anybody listens: only what is pushed later is news.
    registry_start
    registry_has 1 || registry_push 1
    registry_stop
    registry_start "$url"
    trap - EXIT INT TERM
fi
echo "registry   127.0.0.1:$(cat "$registry_folder/port"), stopped by: make down"
up
