
# Runs statements, one after the other, and prints the first column of what they return.
sqlite_run() { # FILE STATEMENT...
    file=$1
    shift
    case $client in
        */sqlite3 | sqlite3)
            for statement; do
                "$client" -batch -init /dev/null -cmd '.timeout 5000' "$file" "$statement" || return
            done
            ;;
        *python3)
            "$client" -c 'import sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=5)
for statement in sys.argv[2:]:
    for row in c.execute(statement): print(row[0])
    c.commit()' "$file" "$@"
            ;;
        *php)
            "$client" -r '$d = new PDO("sqlite:" . $argv[1]);
$d->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
$d->exec("PRAGMA busy_timeout = 5000");
foreach (array_slice($argv, 2) as $s) { foreach ($d->query($s) as $r) { echo $r[0], "\n"; } }' -- "$file" "$@"
            ;;
    esac 2>&1
}

# A program that can open one. PHP and Python are there with and without.
sqlite_client() {
    client=$(program sqlite3) && return
    for client in $(program python3) $(program php); do
        sqlite_run :memory: "SELECT 'value:1'" | grep -q '^value:1$' && return
    done
    return 1
}

# The files that begin as databases do, among those that are called like one; three at the most, the largest first.
sqlite_files() {
    for mount in $mounts; do
        find "$mount" -xdev -maxdepth 6 -type f -size +1 \( -name '*.db' -o -name '*.db3' -o -name '*.sqlite' \
            -o -name '*.sqlite3' -o -name '*.sdb' -o -name 'sqlite*' \) 2>/dev/null
    done | head -n 50 | while IFS= read -r file; do
        case $file in *"$tab"*) continue ;; esac
        [ "$(head -c 15 "$file" 2>/dev/null)" = 'SQLite format 3' ] || continue
        printf '%s\t%s\n' "$(wc -c <"$file")" "$file"
    done | sort -rn | head -n 3 | cut -f 2-
}

ask_sqlite() {
    files=$wanted_database
    [ -n "$files" ] && [ -f "$files" ] || files=$(sqlite_files)
    [ -n "$files" ] || {
        [ -z "$wanted_database" ] || { database=$wanted_database && say done ''; }
        return
    }
    has_client=yes
    sqlite_client || has_client=no
    case $op in
        locate) set -- "SELECT 'value:there' WHERE 0" ;;
        seed) set -- "CREATE TABLE IF NOT EXISTS $table (id int PRIMARY KEY, marker text)" "DELETE FROM $table" \
            "INSERT INTO $table VALUES (1, '$value')" "SELECT 'value:' || marker FROM $table" ;;
        read) set -- "SELECT 'value:' || marker FROM $table" ;;
        overwrite) set -- "UPDATE $table SET marker = '$value'" "SELECT 'value:' || marker FROM $table" ;;
        drop) set -- "DROP TABLE IF EXISTS $table" "SELECT 'value:left' FROM sqlite_master WHERE name = '$table'" ;;
    esac
    printf '%s\n' "$files" | while IFS= read -r database; do
        directory=${database%/*}
        if [ "$has_client" = no ]; then
            say noclient 'its container has no program that can open it'
        elif output=$(sqlite_run "$database" "$@"); then
            say done "$(values)"
        else
            case $output in
                *'no such table'*) say done '' ;;
                *locked*) say wait "$(complaint)" ;;
                *) say failed "$(complaint)" ;;
            esac
        fi
    done
}
