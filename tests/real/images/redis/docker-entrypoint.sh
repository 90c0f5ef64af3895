#!/bin/sh
# As in the official image: options alone mean the server, which runs as `redis`, and protected mode is off by default.
set -eu
if [ "${1#-}" != "${1-}" ] || [ "${1%.conf}" != "${1-}" ]; then
    set -- redis-server "$@"
fi
if [ "$1" = redis-server ]; then
    case " $* " in
        *protected-mode*) ;;
        *) set -- "$@" --protected-mode no ;;
    esac
    if [ "$(id -u)" = 0 ]; then
        find . \! -user redis -exec chown redis '{}' +
        exec gosu redis "$@"
    fi
fi
exec "$@"
