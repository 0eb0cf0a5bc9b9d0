#!/bin/sh
# Stops control plane, balancer, instances and the registry of a data folder. Usage: down.sh DATA
set -eu
DATA=$1
. "$(dirname "$0")/registry.sh"
if [ -x "$GENNAKER_BIN_DIR/gennaker" ]; then
    "$GENNAKER_BIN_DIR/gennaker" down --data "$DATA"
fi
registry_stop
