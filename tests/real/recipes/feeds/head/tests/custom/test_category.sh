#!/bin/sh
set -eu
. "$(dirname "$0")/../feeds.sh"
api POST /v1/categories '{"title":"Of the test"}' | grep -q '"id":' || fail "no category was made"
has_category 'Of the test' || fail "the category is not there"
