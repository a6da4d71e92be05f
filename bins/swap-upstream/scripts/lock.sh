# Takes the lock, in the place of the one whose sum is $SEEN. link(2) makes it whole or not at all.
main() {
    find_file
    # The answer of an earlier try may have been lost.
    ! has_lock || { say outcome done; return; }
    umask 022
    new=$(mktemp "${folder:-/}/.$file.cutover-new-XXXXXX" 2>&1) || fail failed "$new"
    trap 'rm -f -- "$new"' EXIT
    chmod 644 "$new"
    {
        lock_lines && echo "expires: $(($(date +%s) + TTL))"
    } >"$new" || fail failed "could not write $new: is the disk full?"
    settle "$new"
    if [ -e "$lock" ]; then
        [ "$(sum "$lock")" = "$SEEN" ] || { blob lock <"$lock"; fail held "$lock"; }
        why=$(mv -f -- "$new" "$lock" 2>&1) || fail failed "$why"
    else
        why=$(ln -- "$new" "$lock" 2>&1) || {
            [ ! -e "$lock" ] || { blob lock <"$lock"; fail held "$lock"; }
            fail failed "$why"
        }
    fi
    settle "${folder:-/}"
    say outcome done
}
