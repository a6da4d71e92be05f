# $FILE is the main configuration where $WHOLE is yes; else nginx is asked about its own.
nginx_with() {
    if [ "$WHOLE" = yes ]; then
        eval "$NGINX \"\$@\" -c \"\$FILE\""
    else
        eval "$NGINX \"\$@\""
    fi
}

main() {
    find_file
    out=$(nginx_with -t 2>&1 </dev/null)
    code=$?
    say code "$code"
    printf '%s' "$out" | tail -c 4000 | blob output
    if [ "$code" -eq 0 ] && [ "$DUMP" = yes ]; then
        nginx_with -T 2>/dev/null </dev/null | sed -n 's/^# configuration file \(.*\):$/\1/p' | (
            loaded=no
            first=
            while IFS= read -r one; do
                [ -n "$first" ] || first=$one
                [ "$(readlink -f -- "$one")" != "$real" ] || loaded=yes
                text file "$one"
                # Where an upstream stands that is not in $FILE.
                [ ! -r "$one" ] || sed -n 's/^.*upstream[[:space:]][[:space:]]*\([^[:space:]{]*\).*$/\1/p' "$one" | while IFS= read -r name; do
                    text upstream "$name $one"
                done
            done
            say loaded "$loaded"
            [ ! -r "$first" ] || blob main <"$first"
        )
        nginx_with -V 2>&1 </dev/null | blob build
    fi
    say outcome done
}
