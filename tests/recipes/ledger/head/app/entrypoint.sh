#!/bin/sh
# Waits for the database, brings its schema up to date, serves.
set -eu

tries=60
until pg_isready --quiet; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "ledger: no database at $PGHOST after a minute" >&2; exit 1; }
    sleep 0.5
done
psql --quiet --no-psqlrc --file /schema.sql
echo "ledger: schema version $(psql -AtX -c 'SELECT max(version) FROM schema_version')"

cat >/www/index.html <<PAGE
<!doctype html>
<meta charset="utf-8">
<title>$LEDGER_TITLE</title>
<h1>$LEDGER_TITLE</h1>
<p><a href="cgi-bin/ledger">All entries</a></p>
PAGE
exec busybox httpd -f -p 8080 -h /www
