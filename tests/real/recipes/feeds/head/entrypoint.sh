#!/bin/sh
set -e
export DATABASE_URL="postgres://miniflux:$(cat /run/secrets/db_password)@db/miniflux?sslmode=disable"
exec /usr/bin/miniflux
