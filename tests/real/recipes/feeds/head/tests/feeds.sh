# What the tests of this recipe share.

fail() {
    echo "$*" >&2
    exit 1
}

in_db() { recipe-ci app exec --service db -- psql -U miniflux -AtqX -v ON_ERROR_STOP=1 -c "$1"; }

# Miniflux's own API, as its administrator.
api() { # METHOD PATH [JSON]
    password=$(recipe-ci app exec -- cat /run/secrets/admin_password)
    login=$(printf 'admin:%s' "$password" | base64 -w0)
    if [ $# = 3 ]; then
        recipe-ci app http -X "$1" -H "Authorization: Basic $login" -H 'Content-Type: application/json' -d "$3" "$2"
    else
        recipe-ci app http -X "$1" -H "Authorization: Basic $login" "$2"
    fi
}

has_category() { api GET /v1/categories | grep -qF "\"title\":\"$1\""; }
