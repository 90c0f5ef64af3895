
# Whether a connection works: the client's arguments go into `how`.
postgresql_try() { # ARGUMENT...
    output=$("$@" -XAtqw -c "SELECT 'value:1'" 2>&1)
    case $output in
        value:1) how=$* ;;
        *)
            [ -n "$first" ] || first=$output
            return 1
            ;;
    esac
}

postgresql_connect() {
    # The socket of the server is where its own client looks, whatever the recipe tells other clients.
    unset PGHOST PGHOSTADDR PGSERVICE PGOPTIONS PGSSLMODE
    first=
    for at in '' '-h 127.0.0.1'; do
        for as in "$user:$database" "$user:postgres" "postgres:$database" postgres:postgres; do
            postgresql_try "$client" $at -U "${as%%:*}" -d "${as#*:}" && user=${as%%:*} && return
        done
    done
    # Debian's own rule is that only the operating system's user may.
    for become in 'setpriv --reuid=postgres --regid=postgres --clear-groups' 'gosu postgres' 'su-exec postgres'; do
        command -v "${become%% *}" >/dev/null || continue
        for as in "$user:$database" postgres:postgres; do
            postgresql_try $become "$client" -U "${as%%:*}" -d "${as#*:}" && user=${as%%:*} && return
        done
    done
    for file in $(secret_files); do
        PGPASSWORD=$(cat "$file")
        postgresql_try "$client" -h 127.0.0.1 -U "$user" -d "$database" && return
    done
    unset PGPASSWORD
    output=$first
    return 1
}

# A table of the app is one that no extension brought and that is not ours.
postgresql_tables="FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relname NOT LIKE 'recipe\\_ci\\_%'
    AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"

# The table is where the app's own are, and belongs to the owner of those: a dump of the schema has it, and a role that may
# dump or drop the app's tables may do so with ours.
postgresql_seed() {
    cat <<SQL
SELECT coalesce((SELECT n.nspname $postgresql_tables GROUP BY n.nspname
    ORDER BY n.nspname = current_schema() DESC NULLS LAST, count(*) DESC LIMIT 1), current_schema(), 'public') AS schema \\gset
SELECT coalesce((SELECT pg_get_userbyid(c.relowner) $postgresql_tables AND n.nspname = :'schema'
    GROUP BY c.relowner ORDER BY count(*) DESC LIMIT 1), current_user) AS owner \\gset
\\set ON_ERROR_STOP off
SELECT pg_has_role(current_user, :'owner', 'MEMBER') AND has_schema_privilege(:'owner', :'schema', 'CREATE') AS may \\gset
\\if :may
SET ROLE :"owner";
\\endif
\\set ON_ERROR_STOP on
BEGIN;
CREATE TABLE IF NOT EXISTS :"schema".$table (id int PRIMARY KEY, marker text);
DELETE FROM :"schema".$table;
INSERT INTO :"schema".$table VALUES (1, '$value');
COMMIT;
SELECT 'value:' || marker FROM :"schema".$table;
SQL
}

# A restore may have put the table elsewhere, or not at all.
postgresql_there() { # SQL WITH :"schema"
    cat <<SQL
SELECT coalesce((SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = '$table' AND c.relkind = 'r' LIMIT 1), '') AS schema, EXISTS
    (SELECT FROM pg_class c WHERE c.relname = '$table' AND c.relkind = 'r') AS there \\gset
\\if :there
$1
\\endif
SQL
}

ask_postgresql() {
    user=$wanted_user
    [ -n "$user" ] || user=$(setting POSTGRES_USER POSTGRESQL_USERNAME POSTGRESQL_USER PGUSER)
    [ -n "$user" ] || user=postgres
    database=$wanted_database
    [ -n "$database" ] || database=$(setting POSTGRES_DB POSTGRESQL_DATABASE PGDATABASE)
    [ -n "$database" ] || database=$user
    client=$(program psql) || { say noclient 'there is no `psql` in its container'; return; }
    PGPASSWORD=$(setting POSTGRES_PASSWORD POSTGRESQL_PASSWORD POSTGRESQL_POSTGRES_PASSWORD PGPASSWORD)
    export PGPASSWORD
    if ! postgresql_connect; then
        case $output in
            *'starting up'* | *'shutting down'* | *'No such file'* | *'refused'* | *'not yet accepting'*) say wait "$(complaint)" ;;
            *) say refused "$(complaint)" ;;
        esac
        return
    fi
    todo=
    case $op in
        seed) todo=$(postgresql_seed) ;;
        read) todo=$(postgresql_there "SELECT 'value:' || marker FROM :\"schema\".$table;") ;;
        overwrite) todo=$(postgresql_there "UPDATE :\"schema\".$table SET marker = '$value'; SELECT 'value:' || marker FROM :\"schema\".$table;") ;;
        drop) todo=$(postgresql_there "DROP TABLE :\"schema\".$table; SELECT 'value:left' FROM pg_class WHERE relname = '$table';") ;;
    esac
    pick=
    [ -n "$wanted_database" ] || pick="
SELECT NOT EXISTS (SELECT $postgresql_tables) AS empty \\gset
\\if :empty
SELECT coalesce((SELECT datname FROM pg_database WHERE NOT datistemplate AND datallowconn AND datname <> 'postgres'
    AND datname <> current_database() AND has_database_privilege(oid, 'CONNECT')
    ORDER BY pg_database_size(oid) DESC LIMIT 1), current_database()) AS database \\gset
\\connect :\"database\"
\\endif"
    output=$(printf '%s\n' "\\set ON_ERROR_STOP on" "$pick" "
SET client_min_messages = error; SET lock_timeout = '10s'; SET statement_timeout = '20s';
SELECT 'at:' || current_database(), setting FROM pg_settings WHERE name = 'data_directory';
SELECT 'in:' || current_database();
$todo" | $how -XAtqw -F "$tab" 2>&1)
    code=$?
    directory=$(printf '%s\n' "$output" | sed -n "s/^at:.*$tab//p")
    named=$(printf '%s\n' "$output" | sed -n 's/^in://p')
    [ -z "$named" ] || database=$named
    if [ "$code" = 0 ]; then
        say done "$(values)"
    else
        output=$(printf '%s\n' "$output" | grep -e ERROR -e FATAL -e error)
        say failed "$(complaint)"
    fi
}
