#!/bin/sh
# Makes the certificate of this server once.
set -e
cd /certs
[ -s key.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj "/CN=$DOMAIN" -keyout key.pem -out cert.pem 2>/dev/null
