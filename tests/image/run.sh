#!/usr/bin/env bash
# Builds both images from the Dockerfile without Docker and runs them as GitHub's runner does: its mounts, its environment, a root process
# over a workspace of user 1001. What the runner does is in
# https://github.com/actions/runner/blob/main/src/Runner.Worker/Handlers/ContainerActionHandler.cs.
#
# Needs buildah, podman, runc, debootstrap, rustup, openssl, python3, zstd and root; where one is absent, it says so and that nothing was tested. No image is pulled: the
# base is made of Debian's packages and this machine's Rust, and the clients' image has the one PostgreSQL that Debian has.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=
for tool in buildah podman runc debootstrap rustup openssl python3 zstd; do command -v "$tool" >/dev/null || missing="$missing $tool"; done
[ "$(id -u)" -eq 0 ] || missing="$missing root"
if [ -n "$missing" ]; then
    echo "image: SKIPPED: this machine lacks$missing" >&2
    exit 0
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/cutover/image
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache/target"
failed=0
check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"$work/out" 2>&1; then echo "ok    $name"; else
        failed=1
        echo "FAIL  $name"
        sed 's/^/      /' "$work/out"
    fi
}

# Neither a network of its own nor control groups nor limits above its own are to be had in a container: the runner's are not under test.
export CONTAINERS_CONF=$work/containers.conf
cat >"$CONTAINERS_CONF" <<'CONF'
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
netns = "host"
cgroupns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
base=localhost/cutover-base:$suite
if ! podman image exists "$base"; then
    echo "making $base" >&2
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,make "$suite" "$cache/root" >"$cache/debootstrap.log"
    # Certificates as the machine has them: it may reach its packages by a mirror.
    tar --directory / --create etc/ssl/certs | tar --directory "$cache/root" --extract
    tar --directory "$cache/root" --create . | podman import --quiet - "$base" >/dev/null
    rm -rf "$cache/root"
fi
toolchain=$(rustup show active-toolchain | cut -d' ' -f1)
rust=localhost/cutover-rust:$toolchain
if ! podman image exists "$rust"; then
    echo "making $rust" >&2
    container=$(buildah from "$base")
    mount=$(buildah mount "$container")
    mkdir -p "$mount/usr/local/rustup/toolchains" "$mount/usr/local/cargo/bin"
    home=${RUSTUP_HOME:-$HOME/.rustup}
    # A toolchain may be a link to another.
    cp -a "$(readlink -f "$home/toolchains/$toolchain")" "$mount/usr/local/rustup/toolchains/$toolchain"
    cp -a "$home/settings.toml" "$mount/usr/local/rustup/"
    cp -aL "$(command -v rustup)" "$mount/usr/local/cargo/bin/rustup"
    for name in cargo rustc; do ln -s rustup "$mount/usr/local/cargo/bin/$name"; done
    buildah umount "$container" >/dev/null
    buildah config --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo \
        --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet "$container" "$rust" >/dev/null
    buildah rm "$container" >/dev/null
fi

# The tree as a clone has it: what is not committed is tested, what is ignored is not.
mkdir "$work/tree"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from - --create | tar --extract --directory "$work/tree"
major=$(apt-cache show postgresql-client | sed -n 's/^Depends: postgresql-client-\([0-9]*\).*/\1/p' | head -n 1)
build() { # STAGE TAG
    buildah bud --isolation chroot --pull-never --layers --target "$1" --tag "localhost/$2" \
        --build-arg "RUST=$rust" --build-arg "BASE=$base" --build-arg "MAJORS=$major" --build-arg PGDG=true \
        --volume "$cache/target:/src/target" "$work/tree"
}
check "the image of the steps is built" build steps cutover
check "the image with clients is built" build clients cutover-clients
[ "$failed" -eq 0 ] || exit 1
size() { podman image save --format docker-archive "localhost/$1" 2>/dev/null | zstd -19 --quiet | wc --bytes; }
# As the release's layers are compressed.
echo "      cutover: $(size cutover) bytes compressed; cutover-clients: $(size cutover-clients)"

# The runner's folders, of its own user.
host=$work/runner
mkdir -p "$host"/_temp/{_github_home,_github_workflow,_runner_file_commands} "$host/workspace"
echo '{}' >"$host/_temp/_github_workflow/event.json"
commands=$host/_temp/_runner_file_commands
for file in set_output step_summary set_env add_path save_state; do : >"$commands/$file"; done
chown -R 1001:1001 "$host"
as_runner() { # IMAGE ENTRYPOINT [-e NAME=VALUE ...] -- ARGS
    local image=$1 entrypoint=$2 options=()
    shift 2
    while [ "${1:-}" != -- ] && [ $# -gt 0 ]; do options+=("$1") && shift; done
    shift || true
    podman run --rm --name "cutover-$$" --workdir /github/workspace --entrypoint "$entrypoint" \
        -e CI=true -e GITHUB_ACTIONS=true -e HOME=/github/home -e GITHUB_WORKSPACE=/github/workspace \
        -e GITHUB_OUTPUT=/github/file_commands/set_output -e GITHUB_STEP_SUMMARY=/github/file_commands/step_summary \
        -e GITHUB_EVENT_PATH=/github/workflow/event.json -e RUNNER_TEMP=/github/runner_temp -e AWS_EC2_METADATA_DISABLED=true \
        -v "$host/_temp:/github/runner_temp" -v "$host/_temp/_github_home:/github/home" \
        -v "$host/_temp/_github_workflow:/github/workflow" -v "$commands:/github/file_commands" \
        -v "$host/workspace:/github/workspace" "${options[@]}" "localhost/$image" "$@"
}
code() { # WANTED COMMAND...
    local wanted=$1 got=0
    shift
    "$@" || got=$?
    [ "$got" -eq "$wanted" ] || { echo "exit $got, want $wanted" && return 1; }
}

says() { # TEXT COMMAND...
    local text=$1 said
    shift
    said=$("$@" 2>&1) || { echo "$said" && return 1; }
    case "$said" in *"$text"*) ;; *) echo "$said" && echo "it does not say $text" && return 1 ;; esac
}

# One server in the clear and one over TLS, whose certificate only the workspace's ca.pem vouches for.
printf '%s\n' '[req]' distinguished_name=name x509_extensions=leaf '[name]' '[leaf]' basicConstraints=critical,CA:FALSE \
    subjectAltName=IP:127.0.0.1 >"$work/openssl.conf"
openssl req -x509 -config "$work/openssl.conf" -newkey rsa:2048 -nodes -days 2 -subj /CN=cutover \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
install --owner 1001 --mode 644 "$work/cert.pem" "$host/workspace/ca.pem"
python3 - "$work" >"$work/ports" 2>"$work/http.log" <<'PYTHON' &
import http.server, ssl, sys, threading
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) for _ in range(2)]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(f"{sys.argv[1]}/cert.pem", f"{sys.argv[1]}/key.pem")
servers[1].socket = tls.wrap_socket(servers[1].socket, server_side=True)
print(*(server.server_port for server in servers), flush=True)
threading.Thread(target=servers[0].serve_forever, daemon=True).start()
servers[1].serve_forever()
PYTHON
server=$!
trap 'kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
until [ -s "$work/ports" ]; do sleep 0.1 && kill -0 "$server"; done
read -r plain tls <"$work/ports"
url=http://127.0.0.1:$plain/ secure=https://127.0.0.1:$tls/

for image in cutover cutover-clients; do
    check "$image lists its steps" as_runner "$image" /usr/local/bin/cutover -- --list
    check "$image: a step by its link writes outputs and a summary that the runner owns" bash -c "$(declare -f as_runner code)
        host=$host commands=$commands; as_runner $image /usr/local/bin/wait-healthy -e INPUT_URL=$url -e INPUT_TIMEOUT=20s -e INPUT_RECEIPT=receipts/$image.json --
        grep -q attempts $commands/set_output && grep -q . $commands/step_summary"
    check "$image: the dispatcher takes the step as its argument, and an absent input is exit 2" \
        code 2 as_runner "$image" /usr/local/bin/cutover -e INPUT_STEP=tag-release -- tag-release
    check "$image: without credentials it says so before any call" says 'no credentials' \
        code 1 as_runner "$image" /usr/local/bin/toggle-schedule -e INPUT_ACTION=status -e INPUT_RULE=x -e INPUT_REGION=us-east-1 --
    # What the roots do not vouch for is told apart from having no roots.
    check "$image: the CA roots are there and are asked" says 'issuer is not trusted' \
        code 6 as_runner "$image" /usr/local/bin/wait-healthy -e INPUT_URL=$secure -e INPUT_TIMEOUT=2s --
    check "$image: a CA of one's own is believed" \
        as_runner "$image" /usr/local/bin/wait-healthy -e INPUT_URL=$secure -e INPUT_TIMEOUT=20s -e AWS_CA_BUNDLE=/github/workspace/ca.pem --
    # PID 1 has no default handlers: a cancelled job's container would run on.
    check "$image: SIGTERM to PID 1 ends the step with 143" bash -c "$(declare -f as_runner code)
        host=$host commands=$commands
        as_runner $image /usr/local/bin/wait-healthy -e INPUT_URL=http://127.0.0.1:9/ -e INPUT_TIMEOUT=5m -- & run=\$!
        until podman logs cutover-\$\$ 2>&1 | grep -q waiting; do sleep 0.2; kill -0 \$run || exit 1; done
        podman kill --signal TERM cutover-\$\$ >/dev/null
        code 143 wait \$run"
done
check "the clients are there" as_runner cutover-clients /bin/sh -- -c 'set -e; ls /usr/lib/postgresql/*/bin/pg_dump; ssh -V'
check "receipts can be read and deleted by the runner's user" \
    bash -c "[ \$(find $host/workspace/receipts -name '*.json' -uid 1001 | wc -l) -eq 2 ] && [ -z \"\$(find $host/workspace -uid 0)\" ]"
[ "$failed" -eq 0 ] && echo "image: ok"
exit "$failed"
