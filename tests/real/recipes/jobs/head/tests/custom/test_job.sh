#!/bin/sh
set -eu
. "$(dirname "$0")/../jobs.sh"
[ "$(result_of "$(give hello)")" = HELLO ] || fail "the worker did something else"
# recipe-ci's own key is gone by now.
[ -z "$(in_redis --scan --pattern 'recipe_ci*')" ] || fail "a key of recipe-ci is there"
