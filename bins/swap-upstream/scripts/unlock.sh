main() {
    find_file
    if has_lock; then
        # What a script that was cut off had begun to write.
        rm -f -- "${folder:-/}/.$file.cutover-new-"*
        why=$(rm -f -- "$lock" 2>&1) || fail failed "$why"
        settle "${folder:-/}"
    fi
    say outcome done
}
