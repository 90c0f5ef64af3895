
redis_cli() { printf '%s\n' "$@" | "$client" $at 2>&1; }

# Whether it takes commands.
redis_try() { # PASSWORD
    REDISCLI_AUTH=$1
    export REDISCLI_AUTH
    [ -n "$1" ] || unset REDISCLI_AUTH
    output=$(redis_cli PING | sed '/^$/d' | tail -n 1)
    case $output in
        PONG) return 0 ;;
        *)
            [ -n "$first" ] || first=$output
            return 1
            ;;
    esac
}

redis_connect() {
    first=
    redis_try "$(setting REDIS_PASSWORD VALKEY_PASSWORD REDIS_PASS)" && return
    if [ -n "$requirepass" ]; then redis_try "$requirepass" && return; fi
    for file in $configs; do
        redis_try "$(sed -n 's/^ *requirepass  *"*\([^" ]*\)"*.*/\1/p' "$file" 2>/dev/null)" && return
    done
    for file in $(secret_files); do
        redis_try "$(cat "$file")" && return
    done
    output=$first
    return 1
}

# What a setting is; nothing where it may not be asked.
redis_config() { redis_cli "CONFIG GET $1" | sed -n "/^$1\$/{n;p;}"; }

ask_redis() {
    user=$wanted_user
    client=$(program redis-cli valkey-cli keydb-cli) || { say noclient 'there is no `redis-cli` or `valkey-cli` in its container'; return; }
    # Its title tells where it listens: `redis-server *:6379`, `redis-server unixsocket:/run/redis.sock`.
    at=
    title=$(tr '\0' ' ' <"$proc/$pid/cmdline" 2>/dev/null)
    case $title in
        *unixsocket:*) at="-s $(printf '%s' "$title" | sed 's/.*unixsocket:\([^ ]*\).*/\1/')" ;;
        *:[0-9]*) at="-p $(printf '%s' "$title" | sed 's/.*:\([0-9][0-9]*\).*/\1/')" ;;
    esac
    if ! redis_connect; then
        case $output in
            *'Could not connect'* | *LOADING* | *refused*) say wait "$(complaint)" ;;
            *) say refused "$(complaint)" ;;
        esac
        return
    fi
    directory=$(redis_config dir)
    if [ "$op" = seed ]; then
        if [ -n "$directory" ] && ! is_mounted "$directory"; then
            say cache "$directory is on no volume, so what it holds goes with its container"
            return
        fi
        save=$(redis_config save) append=$(redis_config appendonly)
        if [ "$append" = no ] && [ -z "$save" ]; then
            say cache 'it is told to write nothing to disk'
            return
        fi
    fi
    case $op in
        locate) output= ;;
        seed | overwrite) output=$(redis_cli "SET $table value:$value" "GET $table") ;;
        read) output=$(redis_cli "GET $table") ;;
        drop) output=$(redis_cli "DEL $table" "GET $table") ;;
    esac
    case $output in
        *ERR* | *OOM* | *READONLY* | *MISCONF* | *NOPERM* | *'Could not'*) say failed "$(complaint)" ;;
        *) say done "$(values)" ;;
    esac
}
