#!/bin/sh
# Says which Debian packages the demonstration lacks.
missing=""
for package in docker-registry skopeo; do
    command -v "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
echo "missing:$missing" >&2
echo "install with: sudo apt-get install$missing" >&2
exit 1
