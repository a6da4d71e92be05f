# Times of /proc are in ticks since the machine was started: proc(5).
main() {
    [ -r /proc/self/stat ] && [ -r /proc/uptime ] || fail no-proc "there is no /proc"
    [ -e "$PIDFILE" ] || fail no-master "there is no $PIDFILE"
    master=$(cat "$PIDFILE" 2>&1) || fail no-master "$master"
    case $master in '' | *[!0-9]*) fail no-master "$PIDFILE has no process ID in it" ;; esac
    title=$(tr '\0' ' ' 2>/dev/null <"/proc/$master/cmdline") || title=
    case $title in
        'nginx: master process'*) ;;
        *) fail no-master "process $master, of $PIDFILE, is no master of nginx" ;;
    esac
    say master "$master"
    # `nginx: master process /usr/sbin/nginx -c /etc/nginx/nginx.conf`: with which configuration it was started.
    started=$DEFAULT
    case $title in
        *' -c '*)
            started=${title#* -c }
            started=${started%% *}
            ;;
    esac
    case $started in
        /*) [ "$(readlink -f -- "$started")" = "$(readlink -f -- "$MAIN")" ] || text started "$started" ;;
    esac
    ticks=$(getconf CLK_TCK 2>/dev/null) || ticks=100
    read -r up _ </proc/uptime
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        pid=${line%% *}
        # The name of the program, in parentheses, may have anything in it.
        # shellcheck disable=SC2086
        set -- ${line##*) }
        [ "$2" = "$master" ] || continue
        title=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || continue
        case $title in
            'nginx: worker process is shutting down'*) say leaving "$pid" ;;
            'nginx: worker process'*) say worker "$pid $((${up%.*} - ${20} / ticks))" ;;
        esac
    done
    say outcome done
}
