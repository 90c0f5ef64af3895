
# Whether a user may connect: the client's arguments go into `how`. The password is never one of them.
mariadb_try() { # USER PASSWORD ARGUMENT...
    MYSQL_PWD=$2 as=$1
    export MYSQL_PWD
    shift 2
    output=$("$client" "$@" -N -B --connect-timeout=10 -u "$as" -e "SELECT 'value:1'" 2>&1)
    case $output in
        value:1) how="$client $*" user=$as ;;
        *)
            [ -n "$first" ] || first=$output
            return 1
            ;;
    esac
}

mariadb_connect() {
    first=
    own=$(setting MARIADB_PASSWORD MYSQL_PASSWORD)
    root=$(setting MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD MARIADB_MASTER_ROOT_PASSWORD MYSQL_MASTER_ROOT_PASSWORD)
    for at in '' '--protocol=tcp --host=127.0.0.1'; do
        case $user in
            '' | root) ;;
            *) mariadb_try "$user" "$own" $at && return ;;
        esac
        mariadb_try root "$root" $at && return
        mariadb_try root '' $at && return
    done
    for file in $(secret_files); do
        for as in $user root; do
            mariadb_try "$as" "$(cat "$file")" && return
        done
    done
    output=$first
    return 1
}

mariadb_sql() { $how -N -B -u "$user" "$@" 2>&1; }

ask_mariadb() {
    user=$wanted_user
    [ -n "$user" ] || user=$(setting MARIADB_USER MYSQL_USER)
    database=$wanted_database
    [ -n "$database" ] || database=$(setting MARIADB_DATABASE MYSQL_DATABASE)
    client=$(program mariadb mysql) || { say noclient 'there is no `mariadb` or `mysql` in its container'; return; }
    unset MYSQL_HOST MYSQL_TCP_PORT
    if ! mariadb_connect; then
        case $output in
            *'(2)'* | *'(111)'* | *'(11)'* | *'(104)'* | *"ERROR 2002"* | *"ERROR 2003"* | *"ERROR 2013"*) say wait "$(complaint)" ;;
            *) say refused "$(complaint)" ;;
        esac
        return
    fi
    if [ -z "$wanted_database" ]; then
        # The one that the recipe names, if the app has its tables there; else that with most of them.
        picked=$(mariadb_sql -e "SELECT table_schema FROM information_schema.tables WHERE table_type = 'BASE TABLE'
            AND table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')
            AND table_name NOT LIKE 'recipe\\_ci\\_%' GROUP BY table_schema
            ORDER BY table_schema = '$(printf '%s' "$database" | sed "s/[\\\\']//g")' DESC, COUNT(*) DESC LIMIT 1")
        [ -z "$picked" ] || database=$picked
    fi
    if [ -z "$database" ]; then
        say failed 'it has no database but its own'
        return
    fi
    directory=$(mariadb_sql -e 'SELECT @@datadir' | tail -n 1)
    # Tables without a key cannot be made where a cluster wants one.
    case $op in
        locate) todo= ;;
        seed) todo="CREATE TABLE IF NOT EXISTS $table (id int PRIMARY KEY, marker varchar(100) CHARACTER SET ascii);
            DELETE FROM $table; INSERT INTO $table VALUES (1, '$value'); COMMIT; SELECT CONCAT('value:', marker) FROM $table" ;;
        read | overwrite | drop)
            todo=
            there=$(mariadb_sql -e "SELECT COUNT(*) FROM information_schema.tables
                WHERE table_name = '$table' AND table_schema = DATABASE()" "$database")
            case $there in
                1) ;;
                0) op=locate ;;
                *) todo='SELECT 1' ;;
            esac
            case $op in
                read) todo="SELECT CONCAT('value:', marker) FROM $table" ;;
                overwrite) todo="UPDATE $table SET marker = '$value'; COMMIT; SELECT CONCAT('value:', marker) FROM $table" ;;
                drop) todo="DROP TABLE $table; SELECT 'value:left' FROM information_schema.tables
                    WHERE table_name = '$table' AND table_schema = DATABASE()" ;;
            esac
            ;;
    esac
    if output=$(mariadb_sql -e "$todo;" "$database"); then
        say done "$(values)"
    else
        say failed "$(complaint)"
    fi
}
