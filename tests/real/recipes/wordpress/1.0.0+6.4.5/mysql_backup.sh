#!/bin/bash
# Hooks of the backup: `backup` writes the dump that is saved, `restore` loads the one that was put back.
set -euo pipefail
dump=/var/lib/mysql/backup.sql.gz
export MYSQL_PWD=$(cat /run/secrets/db_root_password)

backup() {
    mysqldump --user=root --single-transaction --routines wordpress | gzip >"$dump.new"
    gunzip -c "$dump.new" | tail -n 1 | grep -q '^-- Dump completed'
    mv "$dump.new" "$dump"
}

restore() {
    gunzip -c "$dump" | mysql --user=root wordpress
}

"$@"
