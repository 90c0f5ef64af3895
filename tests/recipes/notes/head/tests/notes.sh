# What the tests of this recipe share. The admin token never leaves the app's container.

fail() {
    echo "$*" >&2
    exit 1
}

list_notes() { recipe-ci app http /cgi-bin/notes; }

has_note() { list_notes | grep -qF "\"text\":\"$1\""; }

add_note() { # TEXT
    printf %s "$1" | recipe-ci app exec -- sh -c 'wget -q -O - --header "X-Admin-Token: $(cat /run/secrets/admin_token)" \
        --post-data "$(cat)" http://127.0.0.1:8080/cgi-bin/notes'
}
