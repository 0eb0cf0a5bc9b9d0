# Functions around the demonstration's registry; sourced by up.sh, push.sh and down.sh.

registry_folder="$DATA/registry"

registry_alive() {
    [ -f "$registry_folder/pid" ] || return 1
    pid=$(cat "$registry_folder/pid")
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = docker-registry ]
}

# registry_notifies URL: it runs and tells this URL what is pushed.
registry_notifies() {
    registry_alive && grep -qF "url: \"$1\"" "$registry_folder/config.yml"
}

# registry_start [NOTIFICATION_URL]: on the port it had before, else on a free one.
registry_start() {
    mkdir -p "$registry_folder/storage"
    if [ -f "$registry_folder/port" ]; then
        registry_serve "$(cat "$registry_folder/port")" "${1:-}" && return 0
        # gennaker.yml and the pipelines name this port.
        echo "the registry does not start on its port $(cat "$registry_folder/port") again;" \
            "free that port, or begin anew with another DATA. Its last lines:" >&2
    else
        tries=0
        while [ $tries -lt 20 ]; do
            registry_serve $((25000 + ($$ + tries * 37) % 5000)) "${1:-}" && return 0
            tries=$((tries + 1))
        done
        echo "the registry does not start; its last lines:" >&2
    fi
    tail -5 "$registry_folder/log" >&2
    return 1
}

# registry_serve PORT URL: one try; an empty URL is told nothing.
registry_serve() {
    {
        echo "version: 0.1"
        echo "log: {level: warn}"
        echo "storage: {filesystem: {rootdirectory: $registry_folder/storage}, delete: {enabled: true}}"
        echo "http: {addr: 127.0.0.1:$1}"
        if [ -n "$2" ]; then
            echo "notifications:"
            echo "  endpoints:"
            echo "    - {name: gennaker, url: \"$2\", timeout: 5s, threshold: 3, backoff: 1s}"
        fi
    } >"$registry_folder/config.yml"
    setsid docker-registry serve "$registry_folder/config.yml" \
        >"$registry_folder/log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$registry_folder/pid"
    waited=0
    while kill -0 "$pid" 2>/dev/null && [ $waited -lt 100 ]; do
        if registry_answers "$1"; then
            # Another program may answer there while ours is still ending.
            sleep 0.1
            kill -0 "$pid" 2>/dev/null || break
            echo "$1" >"$registry_folder/port"
            return 0
        fi
        sleep 0.1
        waited=$((waited + 1))
    done
    kill "$pid" 2>/dev/null || true
    rm -f "$registry_folder/pid"
    return 1
}

# registry_has VERSION: the image is there.
registry_has() {
    skopeo inspect --raw --tls-verify=false \
        "docker://127.0.0.1:$(cat "$registry_folder/port")/demo:$1" >/dev/null 2>&1
}

registry_answers() {
    # An unknown repository is an answer; a connection that is refused is none.
    ! skopeo list-tags --tls-verify=false "docker://127.0.0.1:$1/none" 2>&1 | grep -q "connection refused"
}

registry_stop() {
    registry_alive || return 0
    kill "$pid"
    waited=0
    while [ -d "/proc/$pid" ] && [ $waited -lt 50 ]; do
        [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" = Z ] && break
        sleep 0.1
        waited=$((waited + 1))
    done
    rm -f "$registry_folder/pid"
}

# registry_push VERSION: writes the image and pushes it.
registry_push() {
    image="$DATA/demo-images/$1"
    rm -rf "$image" && mkdir -p "$image"
    "$GENNAKER_BIN_DIR/demo-image" --program "$GENNAKER_DEMO_SERVER" --tag "$1" \
        --content "hello from version $1" --out "$image" >/dev/null &&
        skopeo copy --quiet --insecure-policy --dest-tls-verify=false \
            "oci:$image:$1" "docker://127.0.0.1:$(cat "$registry_folder/port")/demo:$1"
}
