#!/bin/sh
set -eu
. "$(dirname "$0")/../notes.sh"

add_note 'to be deleted' >/dev/null
id=$(list_notes | sed 's/.*"id":\([0-9]*\),[^}]*"text":"to be deleted".*/\1/')

recipe-ci app http -X DELETE --status 401 "/cgi-bin/notes?id=$id" >/dev/null || fail "deleted without the admin token"
has_note 'to be deleted' || fail "the refused request deleted the note"

token=$(recipe-ci app exec -- cat /run/secrets/admin_token)
recipe-ci app http -X DELETE -H "X-Admin-Token: $token" "/cgi-bin/notes?id=$id" >/dev/null
recipe-ci app http -X DELETE -H "X-Admin-Token: $token" --status 404 "/cgi-bin/notes?id=$id" >/dev/null ||
    fail "deleting it again was not answered with 404"
