#!/bin/sh
# Builds the product of the commit that tests/fixtures/previous names, in a checkout and a target folder of
# its own below the given target folder, and prints where its programs are. What was built once is kept.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
commit=$(cat "$root/tests/fixtures/previous")
place=$1/previous/$commit
if [ ! -d "$place/bin" ]; then
    if ! git -C "$root" cat-file -e "$commit^{commit}" 2>/dev/null; then
        echo "commit $commit, which tests/fixtures/previous names, is not in this clone: git fetch --unshallow" >&2
        exit 1
    fi
    rm -rf "$place/source"
    mkdir -p "$place/source" "$place/unfinished"
    git -C "$root" archive --output "$place/source.tar" "$commit"
    tar -xf "$place/source.tar" -C "$place/source"
    # Sources of two versions in one target folder would be taken for one another.
    (cd "$place/source" && CARGO_TARGET_DIR="$place/target" \
        "${CARGO:-cargo}" build --release -p deploy -p balancer -p instance) >&2
    for program in gennaker balancer instance; do
        install -m 755 "$place/target/release/$program" "$place/unfinished/"
    done
    mv "$place/unfinished" "$place/bin"
    rm -rf "$place/source" "$place/source.tar" "$place/target"
fi
echo "$place/bin"
