# Puts the text whose sum is $TO in the place of the one whose sum is $FROM.
main() {
    find_file
    [ "$real" = "$REAL" ] || fail changed "$FILE leads to $real now"
    now=$(sum "$real")
    [ "$now" != "$TO" ] || { say outcome already; return; }
    [ "$now" = "$FROM" ] || fail changed "its bytes are others"
    has_lock || fail unlocked "$lock"
    new=$(mktemp "${folder:-/}/.$file.cutover-new-XXXXXX" 2>&1) || fail failed "$new"
    trap 'rm -f -- "$new"' EXIT
    if [ "$KEEP" = yes ]; then
        why=$(cp -a -- "$real" "$new" 2>&1) || fail failed "$why"
        settle "$new"
        why=$(mv -f -- "$new" "$kept" 2>&1) || fail failed "$why"
        new=$(mktemp "${folder:-/}/.$file.cutover-new-XXXXXX" 2>&1) || fail failed "$new"
    fi
    # Owner, mode, and what else the file has; then the text into it.
    why=$(cp -a -- "$real" "$new" 2>&1) || fail failed "$why"
    why=$({ new_text >"$new"; } 2>&1) || fail failed "$why"
    [ "$(sum "$new")" = "$TO" ] || fail failed "$new was not written whole: is the disk full?"
    [ "$(about "$new")" = "$(about "$real")" ] || fail failed "owner and mode of $real can't be kept: it belongs to $(stat -c %U:%G -- "$real")"
    settle "$new"
    [ "$(sum "$real")" = "$FROM" ] || fail changed "its bytes are others"
    why=$(mv -f -- "$new" "$real" 2>&1) || fail failed "$why"
    settle "${folder:-/}"
    say outcome done
}
