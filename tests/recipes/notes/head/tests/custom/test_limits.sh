#!/bin/sh
# What must not become a note, and what a note may hold.
set -eu
. "$(dirname "$0")/../notes.sh"

refused() { # STATUS BODY
    recipe-ci app exec -- sh -c 'wget -S -q -O - --header "X-Admin-Token: $(cat /run/secrets/admin_token)" \
        --post-data "$1" http://127.0.0.1:8080/cgi-bin/notes 2>&1' sh "$2" | grep -q "HTTP/1.1 $1"
}

max=$(recipe-ci app exec -- sh -c 'echo "${NOTES_MAX_BYTES:-4096}"')
refused 400 '' || fail "an empty note was not refused"
refused 413 "$(printf "%$((max + 1))s" x)" || fail "a note of $((max + 1)) bytes was not refused"

add_note 'a "quote" and a \backslash' >/dev/null
list_notes | grep -qF '"text":"a \"quote\" and a \\backslash"' || fail "the text is not escaped: $(list_notes)"
