#!/bin/sh
# A test of the custom tier: 0 passes, 77 skips with the last line as the reason, anything else is red.
set -eu

recipe-ci app http / >/dev/null
