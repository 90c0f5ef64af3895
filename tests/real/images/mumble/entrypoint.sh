#!/bin/bash
# As in the official image: MUMBLE_CONFIG_<NAME> becomes a line of the configuration, MUMBLE_SUPERUSER_PASSWORD (or its
# _FILE) is set before the server starts.
set -euo pipefail
ini=/data/mumble_server_config.ini
{
    echo "database=/data/mumble-server.sqlite"
    echo "ice="
    while IFS='=' read -r name value; do
        echo "$(tr '[:upper:]' '[:lower:]' <<<"${name#MUMBLE_CONFIG_}" | tr -d _)=$value"
    done < <(env | grep '^MUMBLE_CONFIG_' || :)
} >"$ini"
password=${MUMBLE_SUPERUSER_PASSWORD:-}
[ -z "${MUMBLE_SUPERUSER_PASSWORD_FILE:-}" ] || password=$(<"$MUMBLE_SUPERUSER_PASSWORD_FILE")
[ -z "$password" ] || murmurd -ini "$ini" -supw "$password"
exec "$@" -ini "$ini"
