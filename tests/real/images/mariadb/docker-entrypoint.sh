#!/bin/bash
# As in the official image: MARIADB_* or MYSQL_*, each also as NAME_FILE; what is in /docker-entrypoint-initdb.d is
# loaded into a new database; the server runs as `mysql`.
set -euo pipefail

die() { echo "[ERROR] [Entrypoint]: $*" >&2; exit 1; }

# Sets NAME from NAME, NAME_FILE or the same under MYSQL_.
variable() {
    local name=$1 old="MYSQL_${1#MARIADB_}" key value=''
    for key in "$name" "$old"; do
        local file="${key}_FILE"
        [ -z "${!key:-}" ] || [ -z "${!file:-}" ] || die "Both $key and $file are set (but are exclusive)"
        if [ -n "${!key:-}" ]; then value=${!key}; break; fi
        if [ -n "${!file:-}" ]; then value=$(<"${!file}"); break; fi
    done
    export "$name=$value"
    unset "${name}_FILE" "${old}_FILE"
}

quoted() { local text=${1//\\/\\\\}; printf "'%s'" "${text//\'/\\\'}"; }

case ${1-} in -*) set -- mariadbd "$@" ;; esac
if [ "$1" = mysqld ] || [ "$1" = mariadbd ]; then
    dir=/var/lib/mysql
    if [ "$(id -u)" = 0 ]; then
        find "$dir" /run/mysqld \! -user mysql -exec chown mysql: '{}' +
        exec gosu mysql "$BASH_SOURCE" "$@"
    fi
    if [ ! -d "$dir/mysql" ]; then
        for name in MARIADB_ROOT_PASSWORD MARIADB_DATABASE MARIADB_USER MARIADB_PASSWORD MARIADB_ROOT_HOST \
            MARIADB_RANDOM_ROOT_PASSWORD MARIADB_ALLOW_EMPTY_ROOT_PASSWORD; do variable "$name"; done
        if [ -n "${MARIADB_RANDOM_ROOT_PASSWORD}" ]; then
            MARIADB_ROOT_PASSWORD=$(pwgen --numerals --capitalize 32 1)
            echo "[Note] [Entrypoint]: GENERATED ROOT PASSWORD: $MARIADB_ROOT_PASSWORD"
        fi
        [ -n "$MARIADB_ROOT_PASSWORD$MARIADB_ALLOW_EMPTY_ROOT_PASSWORD" ] || die \
            "Database is uninitialized and password option is not specified
	You need to specify one of MARIADB_ROOT_PASSWORD, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD and MARIADB_RANDOM_ROOT_PASSWORD"
        echo '[Note] [Entrypoint]: Initializing database files'
        mariadb-install-db --datadir="$dir" --auth-root-authentication-method=normal --skip-test-db >/dev/null
        mariadbd --datadir="$dir" --skip-networking --socket=/run/mysqld/init.sock &
        server=$!
        client() { mariadb --protocol=socket --socket=/run/mysqld/init.sock --user=root "$@"; }
        for _ in $(seq 60); do
            if client -e 'SELECT 1' >/dev/null 2>&1; then break; fi
            sleep 0.5
        done
        {
            echo 'SET @@SESSION.SQL_LOG_BIN=0;'
            [ -z "$MARIADB_DATABASE" ] || echo "CREATE DATABASE IF NOT EXISTS \`$MARIADB_DATABASE\`;"
            if [ -n "$MARIADB_USER" ]; then
                echo "CREATE USER $(quoted "$MARIADB_USER")@'%' IDENTIFIED BY $(quoted "$MARIADB_PASSWORD");"
                [ -z "$MARIADB_DATABASE" ] ||
                    echo "GRANT ALL ON \`${MARIADB_DATABASE//_/\\_}\`.* TO $(quoted "$MARIADB_USER")@'%';"
            fi
        } | client
        for file in /docker-entrypoint-initdb.d/*; do
            case $file in
                *.sh) . "$file" ;;
                *.sql) client ${MARIADB_DATABASE:+"$MARIADB_DATABASE"} <"$file" ;;
                *.sql.gz) gunzip -c "$file" | client ${MARIADB_DATABASE:+"$MARIADB_DATABASE"} ;;
            esac
        done
        {
            echo 'SET @@SESSION.SQL_LOG_BIN=0;'
            echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(quoted "$MARIADB_ROOT_PASSWORD");"
            echo "CREATE USER 'root'@$(quoted "${MARIADB_ROOT_HOST:-%}") IDENTIFIED BY $(quoted "$MARIADB_ROOT_PASSWORD");"
            echo "GRANT ALL ON *.* TO 'root'@$(quoted "${MARIADB_ROOT_HOST:-%}") WITH GRANT OPTION;"
        } | client
        kill "$server"
        wait "$server"
        echo '[Note] [Entrypoint]: MariaDB init process done. Ready for start up.'
    fi
fi
exec "$@"
