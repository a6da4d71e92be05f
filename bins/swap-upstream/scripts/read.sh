main() {
    tools
    find_file
    [ -f "$real" ] || fail no-file "$real"
    [ -r "$real" ] || fail unreadable "it belongs to $(stat -c '%U:%G, mode %a' -- "$real"), and this is $(id -un 2>/dev/null || id -u)"
    size=$(wc -c <"$real")
    [ "$size" -le 4194304 ] || fail too-large "$size bytes"
    text real "$real"
    text about "$(about "$real")"
    say links "$(stat -c %h -- "$real")"
    say age "$(($(date +%s) - $(stat -c %Z -- "$real")))"
    say uid "$(id -u)"
    if [ -w "${folder:-/}" ]; then say writable yes; else say writable no; fi
    blob content <"$real"
    if [ -e "$lock" ]; then
        say now "$(date +%s)"
        blob lock <"$lock"
        [ ! -r "$kept" ] || blob kept <"$kept"
    fi
    say outcome done
}
