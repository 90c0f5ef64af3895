#!/bin/sh
# Keeps notes, each a file in /data/notes named by its number.
#   GET            lists them as JSON
#   POST           adds the request's body as a note, with the header X-Admin-Token
set -eu
notes=/data/notes
max=${NOTES_MAX_BYTES:-4096}
mkdir -p "$notes"

answer() { # STATUS JSON
    printf 'Status: %s\r\nContent-Type: application/json\r\n\r\n%s\n' "$1" "$2"
    exit 0
}

need_token() {
    [ "${HTTP_X_ADMIN_TOKEN-}" = "$(cat /run/secrets/admin_token)" ] ||
        answer "401 Unauthorized" '{"error":"X-Admin-Token is missing or wrong"}'
}

numbers() { find "$notes" -type f ! -name '*[!0-9]*' | sed 's|.*/||' | sort -n; }

json_string() { # the file's text as the inside of a JSON string
    tr '\000-\011\013-\037' ' ' <"$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }'
}

list() {
    body=''
    for n in $(numbers); do
        body="$body${body:+,}{\"id\":$n,\"created\":\"$(date -u -r "$notes/$n" +%FT%TZ)\",\"text\":\"$(json_string "$notes/$n")\"}"
    done
    answer "200 OK" "{\"version\":\"1.1.0\",\"image\":\"$(cat /version)\",\"notes\":[$body]}"
}

add() {
    size=${CONTENT_LENGTH:-0}
    [ "$size" -gt 0 ] || answer "400 Bad Request" '{"error":"a note needs a text"}'
    [ "$size" -le "$max" ] || answer "413 Payload Too Large" "{\"error\":\"a note has at most $max bytes\"}"
    new=$(mktemp "$notes/.new.XXXXXX")
    head -c "$size" >"$new"
    n=$(($(numbers | tail -n 1) + 1))
    until ln "$new" "$notes/$n" 2>/dev/null; do n=$((n + 1)); done # ln never overwrites: two writers get two numbers
    rm "$new"
    answer "201 Created" "{\"id\":$n}"
}

case $REQUEST_METHOD in
    GET | HEAD) list ;;
    POST) need_token; add ;;
    *) answer "405 Method Not Allowed" '{"error":"GET or POST"}' ;;
esac
