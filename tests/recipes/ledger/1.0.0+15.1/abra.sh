export APP_ENTRYPOINT_VERSION=v1
export APP_SCHEMA_VERSION=v1
export APP_CGI_VERSION=v1
export APP_PGPASS_VERSION=v1
export DB_ENTRYPOINT_VERSION=v1
export PG_BACKUP_VERSION=v1

# abra app cmd <domain> db psql
psql() {
    command psql "$@"
}
