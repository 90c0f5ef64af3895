#!/bin/bash
# As in the official image: POSTGRES_USER, _PASSWORD, _DB and _INITDB_ARGS, each also as NAME_FILE; what is in
# /docker-entrypoint-initdb.d is loaded into a new database; connections of the machine itself are trusted.
set -euo pipefail

die() { echo "Error: $*" >&2; exit 1; }

# Sets NAME from NAME, NAME_FILE or the default.
variable() {
    local name=$1 file="${1}_FILE"
    [ -z "${!name:-}" ] || [ -z "${!file:-}" ] || die "both $name and $file are set (but are exclusive)"
    local value=${!name:-${2-}}
    [ -z "${!file:-}" ] || value=$(<"${!file}")
    export "$name=$value"
    unset "$file"
}

case ${1-} in -*) set -- postgres "$@" ;; esac
if [ "$1" = postgres ]; then
    if [ "$(id -u)" = 0 ]; then
        mkdir -p "$PGDATA"
        chmod 700 "$PGDATA"
        find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
        exec gosu postgres "$BASH_SOURCE" "$@"
    fi
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        variable POSTGRES_PASSWORD
        variable POSTGRES_USER postgres
        variable POSTGRES_DB "$POSTGRES_USER"
        variable POSTGRES_INITDB_ARGS
        method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
        [ -n "$POSTGRES_PASSWORD" ] || [ "$method" = trust ] || die \
            "Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser."
        # shellcheck disable=SC2086 # a list of words
        initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") $POSTGRES_INITDB_ARGS
        printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
        sed -i "s/^#*listen_addresses = .*/listen_addresses = '*'/" "$PGDATA/postgresql.conf"
        PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
        client() { psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc "$@"; }
        if [ "$POSTGRES_DB" != postgres ]; then
            client --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
        fi
        for file in /docker-entrypoint-initdb.d/*; do
            case $file in
                *.sh) . "$file" ;;
                *.sql) client --dbname "$POSTGRES_DB" -f "$file" ;;
                *.sql.gz) gunzip -c "$file" | client --dbname "$POSTGRES_DB" ;;
            esac
        done
        PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -m fast -w stop
        echo 'PostgreSQL init process complete; ready for start up.'
    fi
fi
exec "$@"
