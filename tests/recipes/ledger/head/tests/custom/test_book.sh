#!/bin/sh
set -eu
. "$(dirname "$0")/../ledger.sh"

book "99 It's \$(date) and 'quoted'" >/dev/null
[ "$(in_db "SELECT purpose FROM entries WHERE cents = 99")" = "It's \$(date) and 'quoted'" ] || fail "the text was changed"

# recipe-ci's own table is gone by now.
[ -z "$(in_db "SELECT tablename FROM pg_tables WHERE tablename LIKE 'recipe_ci%'")" ] || fail "a table of recipe-ci is there"

for bad in 'twelve Beans' '12' '12 '; do
    recipe-ci app http -X POST -d "$bad" --status 400 /cgi-bin/ledger >/dev/null || fail "'$bad' was not refused"
done
