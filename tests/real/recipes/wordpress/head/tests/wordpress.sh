# What the tests of this recipe share.

fail() {
    echo "$*" >&2
    exit 1
}

in_db() { # SQL
    printf '%s\n' "$1" | recipe-ci app exec --service db -- sh -c 'mysql -N -uroot -p"$(cat /run/secrets/db_root_password)" wordpress'
}

has_post() { recipe-ci app http '/?s=' | grep -qF "$1"; }

# A post of the site's administrator, made by WordPress itself: its installer leaves no way in over HTTP without cookies.
post() {
    printf '<?php $_SERVER["HTTP_HOST"] = "localhost"; require "/var/www/html/wp-load.php";
        $id = wp_insert_post(["post_title" => "%s", "post_content" => "x", "post_status" => "publish"], true);
        if (is_wp_error($id)) { fwrite(STDERR, $id->get_error_message()); exit(1); }' "$1" |
        recipe-ci app exec -- php
}
