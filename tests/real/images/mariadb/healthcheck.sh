#!/bin/bash
# As in the official image: --connect is a connection over TCP, which the server that fills a new database refuses.
set -eu
for option; do
    case $option in
        --connect | --innodb_initialized)
            mariadb --protocol=tcp --host=127.0.0.1 --user=healthcheck-without-rights -e 'SELECT 1' 2>&1 | grep -q 'Access denied'
            ;;
    esac
done
