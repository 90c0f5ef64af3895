#!/bin/sh
set -eu
. "$(dirname "$0")/../notes.sh"

list_notes | grep -q '"colour":' || fail "notes have no colour"
