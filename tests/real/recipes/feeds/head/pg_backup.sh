#!/bin/bash
# Hooks of the backup: `backup` writes the dump that is saved, `restore` loads the one that was put back.
set -euo pipefail
dump=/var/lib/postgresql/data/backup.sql

backup() {
    pg_dump -U miniflux miniflux >"$dump.new"
    mv "$dump.new" "$dump"
}

restore() {
    psql -U miniflux -d postgres -q -c 'DROP DATABASE miniflux WITH (FORCE)' -c 'CREATE DATABASE miniflux'
    psql -U miniflux -d miniflux -q -v ON_ERROR_STOP=1 -f "$dump" >/dev/null
}

"$@"
