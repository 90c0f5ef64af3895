#!/bin/sh
set -eu
. "$(dirname "$0")/jobs.sh"
recipe-ci app http / | grep -q '^jobs [12]: ' || fail "/ is not the app"
