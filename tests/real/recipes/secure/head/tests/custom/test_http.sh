#!/bin/sh
# The server refuses plain HTTP by itself, so a gateway that asked in HTTP would show an error to everybody.
set -eu
recipe-ci app exec -- curl -sS http://localhost:8443/ | grep -q 'plain HTTP request was sent to HTTPS port'
