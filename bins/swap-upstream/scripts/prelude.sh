# What every script begins with. All of it is sent over standard input, and nothing runs before the last line has arrived.
LC_ALL=C
export LC_ALL
# A shell without login has no sbin.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin

say() { printf '%s %s\n' "$1" "$2"; }
blob() { printf '%s ' "$1"; base64 | tr -d '\n'; echo; }
text() { printf '%s' "$2" | blob "$1"; }
sum() { sha256sum <"$1" 2>/dev/null | cut -c 1-64; }
# fsync of one file or folder where sync can, else of all there is.
settle() { sync "$1" 2>/dev/null || sync; }
fail() { say outcome "$1"; text why "$2"; exit 0; }
about() { stat -c '%u %g %a' -- "$1"; }

tools() {
    for tool in base64 cut mktemp readlink sed sha256sum stat tail tr; do
        command -v "$tool" >/dev/null 2>&1 || { say tool "$tool"; say outcome tool; exit 0; }
    done
}

names() {
    folder=${real%/*}
    file=${real##*/}
    # A name that begins with a dot is not matched by `include sites-enabled/*`.
    lock=${folder:-/}/.$file.cutover-lock
    kept=${folder:-/}/.$file.cutover-before
}

# The file itself, behind all links.
find_file() {
    real=$(readlink -f -- "$FILE") && [ -e "$real" ] || fail missing "$FILE"
    names
}

has_lock() { grep -qx "run: $RUN" "$lock" 2>/dev/null; }
