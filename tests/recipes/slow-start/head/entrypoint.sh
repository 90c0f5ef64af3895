#!/bin/sh
# Sets the app up in its first boot, and serves. A setup that was killed begins again.
set -eu
if [ ! -e /data/set-up ]; then
    left=12
    while [ "$left" -gt 0 ]; do
        echo "setting up: $left s to go"
        sleep 1
        left=$((left - 1))
    done
    : >/data/set-up
fi
exec httpd -f -p 8080 -h /www
