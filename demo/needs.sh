#!/bin/sh
# Says what building and running the demonstration lacks.
missing="" packages=""
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 && return
    missing="$missing $1"
    packages="$packages $2"
}
need docker-registry docker-registry
need skopeo skopeo
need cc gcc
need setsid util-linux
if ! command -v "${CARGO:-cargo}" >/dev/null 2>&1; then
    echo "missing: ${CARGO:-cargo}; install Rust with rustup: https://rustup.rs" >&2
    [ -n "$missing" ] || exit 1
fi
[ -z "$missing" ] && exit 0
echo "missing:$missing" >&2
echo "install with: sudo apt-get install$packages" >&2
exit 1
