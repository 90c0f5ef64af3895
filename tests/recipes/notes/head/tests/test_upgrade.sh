#!/bin/sh
set -eu
. "$(dirname "$0")/notes.sh"

list=$(list_notes)
for want in '"version":"1.2.0"' '"image":"2"' '"count":'; do
    case $list in
        *"$want"*) ;;
        *) fail "no $want after the upgrade in: $list" ;;
    esac
done
recipe-ci app http / | grep -q '<h1>Notes 1.2.0' || fail "/ is still the old page"
