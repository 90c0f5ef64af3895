#!/bin/sh
# As in the official image: options alone, or one of Traefik's own commands, mean Traefik.
set -e
if [ "${1#-}" != "$1" ] || [ "$1" = healthcheck ] || [ "$1" = version ]; then
    set -- traefik "$@"
fi
exec "$@"
