# Writes into the lock that its run has ended well: nothing is put back on its account any more. A lock that is not this run's is left.
main() {
    find_file
    has_lock && ! grep -qx 'done: yes' "$lock" || { say outcome done; return; }
    umask 022
    new=$(mktemp "${folder:-/}/.$file.cutover-new-XXXXXX" 2>&1) || fail failed "$new"
    trap 'rm -f -- "$new"' EXIT
    chmod 644 "$new"
    { sed -n 1p "$lock" && echo 'done: yes' && sed 1d "$lock"; } >"$new" || fail failed "could not write $new: is the disk full?"
    settle "$new"
    why=$(mv -f -- "$new" "$lock" 2>&1) || fail failed "$why"
    settle "${folder:-/}"
    say outcome done
}
