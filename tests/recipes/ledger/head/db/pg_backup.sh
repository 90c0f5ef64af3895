#!/bin/bash
# Hooks of the backup: `backup` writes the dump that is saved, `restore` loads the one that was put back.
set -euo pipefail
dump=/var/lib/postgresql/data/backup.sql

backup() {
    trap 'rm -f "$dump.new"' EXIT
    pg_dump --no-owner --file "$dump.new"
    # A dump that was cut short, or none at all, must never take the place of a good one.
    grep -q '^-- PostgreSQL database dump complete' "$dump.new" || { echo "pg_backup: the dump is not complete" >&2; exit 1; }
    mv "$dump.new" "$dump"
    echo "pg_backup: $(wc -c <"$dump") bytes"
}

restore() {
    [ -s "$dump" ] || { echo "pg_backup: no dump to restore" >&2; exit 1; }
    { echo 'SET client_min_messages = warning; DROP SCHEMA public CASCADE; CREATE SCHEMA public;'; cat "$dump"; } |
        psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --single-transaction >/dev/null
    echo "pg_backup: restored"
}

case ${1-} in
    backup | restore) "$1" ;;
    *) echo "usage: pg_backup.sh backup|restore" >&2; exit 2 ;;
esac
