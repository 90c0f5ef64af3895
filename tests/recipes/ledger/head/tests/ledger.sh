# What the tests of this recipe share.

fail() {
    echo "$*" >&2
    exit 1
}

entries() { recipe-ci app http /cgi-bin/ledger; }

book() { recipe-ci app http -X POST -d "$1" /cgi-bin/ledger; } # "CENTS PURPOSE"

has_entry() { entries | grep -q "\"cents\":$1,.*\"purpose\":\"$2\""; } # CENTS PURPOSE

in_db() { recipe-ci app exec --service db -- psql -AtqX -v ON_ERROR_STOP=1 -c "$1"; }
