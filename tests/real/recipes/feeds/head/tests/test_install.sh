#!/bin/sh
set -eu
. "$(dirname "$0")/feeds.sh"
recipe-ci app http / | grep -q '<title>Sign In - Miniflux' || fail "/ is not the login page"
api GET /v1/me | grep -q '"username":"admin"' || fail "the administrator cannot log in"
