main() {
    find_file
    if has_lock; then
        why=$(rm -f -- "$lock" 2>&1) || fail failed "$why"
        settle "${folder:-/}"
    fi
    say outcome done
}
