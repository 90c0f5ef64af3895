#!/bin/bash
# As in the official image: fills an empty /var/www/html, and makes wp-config.php from WORDPRESS_*.
set -euo pipefail
case ${1-} in
    apache2*)
        if [ ! -e index.php ] && [ ! -e wp-includes/version.php ]; then
            echo "WordPress not found in $PWD - copying now..."
            cp -a /usr/src/wordpress/. .
            echo "Complete! WordPress has been successfully copied to $PWD"
        fi
        if [ ! -s wp-config.php ]; then
            cp /usr/src/wordpress/wp-config-docker.php wp-config.php
            chown www-data:www-data wp-config.php
        fi
        ;;
esac
exec "$@"
