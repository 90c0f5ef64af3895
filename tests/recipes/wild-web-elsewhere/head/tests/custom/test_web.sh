#!/bin/sh
# HTTP goes to the service with the Traefik labels, exec to `app` unless told otherwise.
set -eu
recipe-ci app http / | grep -q '<h1>Ticks'
recipe-ci app exec -- test -s /data/ticks
recipe-ci app exec --service web -- test -s /www/data/ticks
