#!/bin/sh
set -eu
. "$(dirname "$0")/ledger.sh"

[ "$(in_db 'SELECT max(version) FROM schema_version')" = 2 ] || fail "the schema was not migrated"
entries | grep -q '"schema" : 2, "currencies" : \["EUR"\]' || fail "the app is still the old one: $(entries)"
