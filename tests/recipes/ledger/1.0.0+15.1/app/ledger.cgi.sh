#!/bin/sh
# GET lists the entries as JSON; POST "1250 Coffee beans" books 12.50 for coffee beans.
set -eu

answer() { # STATUS JSON
    printf 'Status: %s\r\nContent-Type: application/json\r\n\r\n%s\n' "$1" "$2"
    exit 0
}

# Runs the SQL on stdin; values go in as -v NAME=VALUE, so that psql quotes them.
sql() { psql -AtqX -v ON_ERROR_STOP=1 "$@" || answer "503 Service Unavailable" '{"error":"the database does not answer"}'; }

list() {
    answer "200 OK" "$(sql <<'SQL'
SELECT json_build_object(
    'schema', (SELECT max(version) FROM schema_version),
    'entries', (SELECT coalesce(json_agg(e ORDER BY id), '[]') FROM (SELECT id, cents, purpose FROM entries) e));
SQL
)"
}

book() {
    body=$(head -c "${CONTENT_LENGTH:-0}")
    cents=${body%% *}
    purpose=${body#* }
    case ${cents#-} in
        '' | *[!0-9]* | ????????*) answer "400 Bad Request" '{"error":"an entry is cents, a space and a purpose"}' ;;
    esac
    case $purpose in
        '' | "$body") answer "400 Bad Request" '{"error":"an entry needs a purpose"}' ;;
    esac
    answer "201 Created" "$(sql -v cents="$cents" -v purpose="$purpose" <<'SQL'
INSERT INTO entries (cents, purpose) VALUES (:'cents', :'purpose') RETURNING json_build_object('id', id);
SQL
)"
}

case $REQUEST_METHOD in
    GET | HEAD) list ;;
    POST) book ;;
    *) answer "405 Method Not Allowed" '{"error":"GET or POST"}' ;;
esac
