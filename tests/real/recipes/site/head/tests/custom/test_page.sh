#!/bin/sh
# A page that an editor puts onto the volume is served.
set -eu
echo '<h1>About us</h1>' | recipe-ci app exec -- sh -c 'cat >/usr/share/nginx/html/about.html'
recipe-ci app http /about.html | grep -q 'About us'
