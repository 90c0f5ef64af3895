#!/bin/sh
# Runs on the app with mail alone, after the install's other tests.
set -eu

[ "$CCCI_VARIANT" = smtp ] || { echo "this is the app of \`$CCCI_VARIANT\`" >&2; exit 1; }
recipe-ci app exec -- sh -c '[ "$SMTP_HOST" = mail ] && [ -s /run/secrets/smtp_password ]'
