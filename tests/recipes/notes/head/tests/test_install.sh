#!/bin/sh
# Runs on a new app.
set -eu
. "$(dirname "$0")/notes.sh"

recipe-ci app http / | grep -q '<h1>Notes' || fail "/ is not the page of notes"
list_notes | grep -q '"notes":\[' || fail "/cgi-bin/notes is not a list of notes"
recipe-ci app http -X POST -d 'from a stranger' --status 401 /cgi-bin/notes >/dev/null ||
    fail "a note without the admin token was not answered with 401"
