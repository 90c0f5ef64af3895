#!/bin/sh
set -eu
. "$(dirname "$0")/../jobs.sh"
[ "$(result_of "$(give hello)")" = HELLO ] || fail "the worker did something else"
