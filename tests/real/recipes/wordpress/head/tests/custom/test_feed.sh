#!/bin/sh
set -eu
. "$(dirname "$0")/../wordpress.sh"
post 'In the feed'
recipe-ci app http '/?feed=rss2' | grep -q '<title>In the feed</title>' || fail "the post is not in the feed"
