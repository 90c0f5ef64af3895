#!/bin/sh
# Runs on a new app.
set -eu
. "$(dirname "$0")/ledger.sh"

recipe-ci app http / | grep -q '<h1>Ledger' || fail "/ is not the page of the ledger"
entries | grep -q '"entries" : \[' || fail "no list of entries: $(entries)"
