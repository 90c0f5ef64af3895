#!/bin/sh
set -eu
. "$(dirname "$0")/wordpress.sh"
recipe-ci app http / | grep -q '<title>Our site' || fail "/ is not the site"
