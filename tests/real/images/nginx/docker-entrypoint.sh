#!/bin/sh
# As in the official image: scripts of /docker-entrypoint.d, templates of /etc/nginx/templates, then the command.
set -eu
if [ "${1-}" = nginx ]; then
    for script in /docker-entrypoint.d/*.sh; do
        [ ! -f "$script" ] || sh "$script"
    done
    for template in /etc/nginx/templates/*.template; do
        [ ! -f "$template" ] || envsubst <"$template" >"/etc/nginx/conf.d/$(basename "$template" .template)"
    done
fi
exec "$@"
